"""Samples for `gpt2 generate`: pieces as they are made, then all there is to know of each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from gpt2cli.generation.completion import Completion
from gpt2cli.generation.continuation import Continuation
from gpt2cli.generation.requests import Event, FinishReason, Request
from gpt2cli.generation.samples.record import machine_facts
from gpt2cli.generation.settings import SampleSettings
from gpt2cli.model.loading import LoadedModel
from gpt2cli.serving.http.commands.route import Emit
from gpt2cli.serving.http.service import Service
from gpt2cli.serving.http.tickets import Failure, Tickets
from gpt2cli.serving.protocol import RequestError, parse_prompt, parse_settings
from gpt2cli.text.tokenizer import Tokenizer

DEFAULTS = SampleSettings()
# Their numbers are keys of 64 bits.
MOST_SAMPLES = 2**63


class _Told(NamedTuple):
    """A piece of a sample, and with the reason of its end the whole of it."""

    piece: dict[str, Any]
    finish_reason: FinishReason | None = None
    tokens: int = 0


async def make_samples(service: Service, fields: Mapping[str, Any], emit: Emit) -> None:
    """Tell what is read, then make the samples from `first` to `last`, which is exclusive.

    Raises:
        UsageError, InputError: as `Continuation` does.
    """
    prompt, settings = fields.get("prompt"), fields.get("settings")
    first, last = (_whole(fields.get(name, 0), name) for name in ("first", "last"))
    continuation = await service.read(_read, service.reading, prompt, settings)
    count = max(0, last - first)
    with service.room(count):
        read = len(continuation.prompt.ids)
        truncated = continuation.prompt.truncated
        begun: dict[str, Any] = {"prompt_tokens": read, "truncated": truncated, "seed": continuation.seed}
        if fields.get("record"):
            begun["prompt_ids"] = list(continuation.prompt.ids)
            begun["facts"] = await service.read(machine_facts, service.loaded)
        await emit(begun)
        if not count:
            return
        service.metrics.prompt_tokens.inc(read)
        start = time.perf_counter()
        prefill_seconds = None
        with service.working(partial(_begin, service.loaded, continuation, range(first, last))) as mailbox:
            while count:
                told = await mailbox.get()
                if isinstance(told, Failure):
                    raise told.error
                if prefill_seconds is None:
                    prefill_seconds = time.perf_counter() - start
                count -= told.finish_reason is not None
                service.metrics.completion_tokens.inc(told.tokens)
                await emit(told.piece)
        seconds = time.perf_counter() - start - (prefill_seconds or 0.0)
        await emit({"prefill_seconds": prefill_seconds, "decode_seconds": seconds})


def _read(loaded: LoadedModel, prompt: Any, settings: Any) -> Continuation:
    # Lines have no such field, so it is none of the protocol's settings.
    given = dict(settings) if isinstance(settings, Mapping) else {}
    speculate = given.pop("speculate", None) is True
    if not isinstance(settings, Mapping):
        raise RequestError("The settings are not an object.", "settings", "invalid_type")
    chosen = replace(parse_settings(given, DEFAULTS), speculate=speculate)
    return Continuation(loaded, parse_prompt(prompt, unconditional=prompt is None), chosen)


def _begin(loaded: LoadedModel, continuation: Continuation, samples: range, tickets: Tickets) -> None:
    for sample in samples:
        request = continuation.request(sample)
        own = _Sample(loaded.tokenizer, continuation, request)
        tickets.submit(request, own.take)


class _Sample:
    """The text and the tokens of one sample, in the worker's thread."""

    def __init__(self, tokenizer: Tokenizer, continuation: Continuation, request: Request) -> None:
        self._completion = Completion(tokenizer, continuation.settings, continuation.text or "")
        self._has_logprobs = continuation.settings.logprobs is not None
        self._number = request.sample
        self._completion.drafts = request.drafts

    def take(self, event: Event) -> _Told | None:
        """Return what an event adds, if that is final."""
        completion, text, reason = self._completion, "", event.finish_reason
        if event.token:
            text = completion.push(event.token)
            if completion.stopped:
                reason = "stop"
        if not reason:
            return _Told({"sample": self._number, "text": text}) if text else None
        text += completion.finish(reason)
        return _Told(
            {
                "sample": self._number,
                "text": text,
                "finish_reason": completion.finish_reason,
                "token_ids": [token.id for token in completion.tokens],
                "usage": completion.usage,
                "drafts": completion.drafts and vars(completion.drafts),
                "mean_logprob": completion.mean_logprob,
                "logprobs": completion.logprobs_table() if self._has_logprobs else None,
            },
            completion.finish_reason,
            len(completion.tokens),
        )


def _whole(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_SAMPLES:
        raise RequestError(f"{name} must be a whole number.", name, "invalid_type")
    return value
