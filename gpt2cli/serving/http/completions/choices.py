"""The choices of one request for completions, made by the worker."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gpt2cli.generation.completion import Completion
from gpt2cli.generation.continuation import decode_prompt, encode_prompt, end_ids, open_sampler
from gpt2cli.generation.requests import Event, FinishReason, GenerationSettings, Request, Token
from gpt2cli.generation.sampling import SequenceBias
from gpt2cli.generation.settings import SampleSettings
from gpt2cli.model.loading import LoadedModel
from gpt2cli.serving.http.completions.fields import CompletionBody
from gpt2cli.serving.http.completions.prompt_scores import prompt_tokens
from gpt2cli.serving.http.completions.token_table import TokenTable
from gpt2cli.serving.http.tickets import Tickets
from gpt2cli.serving.protocol import RequestError
from gpt2cli.text.tokenizer import Tokenizer

SEED_BITS = 32


class Update(NamedTuple):
    """What is new in a choice: text, and how many tokens were made; with a reason, it is the last.

    Ids and log-probabilities are those of all tokens of the text, so the prompt's too where it is echoed.
    """

    choice: int
    text: str = ""
    tokens: int = 0
    token_ids: Sequence[int] = ()
    logprobs: Mapping[str, Any] | None = None
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, eq=False, repr=False)
class PromptToContinue:
    """A prompt that was read, and what continues it."""

    ids: Sequence[int]
    text: str
    requests: Sequence[Request]


@dataclass(frozen=True, eq=False, repr=False)
class Work:
    """A whole request that was read: its prompts, and what its answer shall have."""

    prompts: Sequence[PromptToContinue]
    settings: SampleSettings
    seed: int
    echo: bool
    with_ids: bool
    end_ids: Sequence[int]

    @property
    def prompt_tokens(self) -> int:
        """The number of tokens of all prompts."""
        return sum(len(prompt.ids) for prompt in self.prompts)


def read_work(loaded: LoadedModel, body: CompletionBody) -> Work:
    """Read the prompts of a request and prepare what continues them.

    Raises:
        RequestError: an id is not the model's.
        UsageError: a prompt does not fit the context.
        InputError: a text is not Unicode.
    """
    settings = body.settings
    seed = secrets.randbits(SEED_BITS) if settings.seed is None else settings.seed
    for token_id in body.biases:
        if token_id >= loaded.model.config.vocab_size:
            raise RequestError(f"The model has no token {token_id}.", "logit_bias")
    biases = [SequenceBias((token_id,), logits) for token_id, logits in body.biases.items()]
    ends = end_ids(loaded)
    sampler = open_sampler(loaded, settings, seed, ends, biases)
    # A chosen end token has a log-probability too, so that the tokens are seen here one by one.
    own_ends = () if settings.logprobs is not None or body.with_ids else ends
    generation = GenerationSettings(settings.max_tokens, own_ends, logprobs=settings.logprobs)
    prompts = []
    for prompt in body.prompts:
        ids = encode_prompt(loaded, prompt, settings).ids
        requests = [Request(ids, sampler, generation, sample) for sample in range(settings.num_samples)]
        text = decode_prompt(loaded, prompt) if isinstance(prompt, tuple) else prompt or ""
        prompts.append(PromptToContinue(ids, text, requests))
    return Work(prompts, settings, seed, body.echo, body.with_ids, ends)


def begin(loaded: LoadedModel, work: Work, tickets: Tickets) -> None:
    """Begin with all prompts, in the worker's thread; those that are scored are continued after that."""
    for number, prompt in enumerate(work.prompts):
        if work.echo and work.settings.logprobs is not None:
            tickets.add_chore(_scored(loaded, work, number, prompt, tickets))
        else:
            _continue(loaded, work, number, prompt, tickets, [])


def _scored(
    loaded: LoadedModel, work: Work, number: int, prompt: PromptToContinue, tickets: Tickets
) -> Iterator[None]:
    tokens: list[Token] = []
    count = work.settings.logprobs or 0
    for part in prompt_tokens(loaded.model, prompt.ids, count, tickets.positions_at_once):
        tokens += part
        yield
    _continue(loaded, work, number, prompt, tickets, tokens)


def _continue(
    loaded: LoadedModel,
    work: Work,
    number: int,
    prompt: PromptToContinue,
    tickets: Tickets,
    scored: Sequence[Token],
) -> None:
    for sample, request in enumerate(prompt.requests):
        choice = _Choice(work, number * len(prompt.requests) + sample, prompt, loaded.tokenizer)
        if work.echo:
            tickets.post(choice.echo(scored))
        tickets.submit(request, choice.take)


class _Choice:
    """The text and tokens of one choice."""

    def __init__(self, work: Work, index: int, prompt: PromptToContinue, tokenizer: Tokenizer) -> None:
        self._work = work
        self._index = index
        self._prompt = prompt
        self._completion = Completion(tokenizer, work.settings, prompt.text)
        start = len(prompt.text) if work.echo else 0
        self._own = TokenTable(tokenizer, prompt.text, start)
        self._echoed = TokenTable(tokenizer)
        self._pending: list[Token] = []
        self._counted = 0

    def echo(self, scored: Sequence[Token]) -> Update:
        """Return the prompt as the beginning of the text."""
        ids = self._prompt.ids if self._work.with_ids else ()
        rows = self._echoed.rows(scored, self._work.with_ids) if scored else None
        return Update(self._index, self._prompt.text, 0, ids, rows)

    def take(self, event: Event) -> Update | None:
        """Return what an event adds, if that is final; an end token ends the text."""
        text, reason, token = "", event.finish_reason, event.token
        if token and token.id in self._work.end_ids:
            self._pending.append(token)
            reason = "stop"
        elif token:
            self._pending.append(token)
            text = self._completion.push(token)
            if self._completion.stopped:
                reason = "stop"
        if reason:
            text += self._completion.finish(reason)
            reason = self._completion.finish_reason
        if not (text or reason):
            return None
        tokens, self._pending = self._pending, []
        made = len(self._completion.tokens) - self._counted
        self._counted += made
        ids = [token.id for token in tokens] if self._work.with_ids else ()
        has_rows = tokens and self._work.settings.logprobs is not None
        rows = self._own.rows(tokens, self._work.with_ids) if has_rows else None
        return Update(self._index, text, made, ids, rows, reason)
