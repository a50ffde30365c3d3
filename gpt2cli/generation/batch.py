"""Generation from ids to ids: prefill, the decode loop, batches and the end of the context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple

import numpy as np

from gpt2cli.errors import ContextError, UsageError
from gpt2cli.generation.requests import FinishReason, GenerationSettings
from gpt2cli.generation.sampling import Sampler, Scores, log_softmax
from gpt2cli.generation.speculation import Drafts, ReadAhead
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.kv_cache import KVCache
from gpt2cli.model.model import Model
from gpt2cli.ops.operations import A

Truncation = Literal["left", "right"]


class Token(NamedTuple):
    """One chosen token of one sample, with log-probabilities in nats before any sampling filter."""

    sample: int
    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Prefilled(Generic[A]):
    """A prompt that the model has read; `scores` are the logits (vocabulary,) of the next token."""

    ids: tuple[int, ...]
    cache: KVCache[A]
    scores: Scores


def fit_prompt(
    ids: Sequence[int], context: int, max_tokens: int, truncate: Truncation | None, leading: int = 0
) -> tuple[Sequence[int], bool]:
    """Return the ids that fit the context, and whether any were dropped.

    A truncated prompt leaves room for the new tokens but always keeps at least half of the context. The
    first `leading` ids are kept whichever side is cut.

    Raises:
        ContextError: the ids do not fit and `truncate` is None.
        UsageError: there are none.
    """
    if not ids:
        raise UsageError("The prompt has no tokens: this tokenizer drops all of it.")
    if len(ids) <= context:
        return ids, False
    if truncate is None:
        raise ContextError(
            f"The prompt has {len(ids):,} tokens and the model's context holds {context:,}.",
            "Shorten it, or set `truncate` to left (keeps the end) or right (keeps the beginning). "
            "gpt2 tokenize counts and cuts as this model does if its `model` names it.",
        )
    kept = max(context + 1 - max_tokens, context // 2, 1)
    kept = max(min(kept, context) - leading, 0)
    rest = ids[leading:]
    fitting = rest[len(rest) - kept :] if truncate == "left" else rest[:kept]
    return ([*ids[:leading], *fitting] if leading else fitting), True


def top_needed(sampler: Sampler, settings: GenerationSettings, count: int) -> int | None:
    """Return how many of the highest logits are needed after `count` ids, or None if all are."""
    return sampler.top_needed(count) if settings.logprobs is None else None


def prefill(model: Model[A], ids: Sequence[int], max_tokens: int, top: int | None = None) -> Prefilled[A]:
    """Read a prompt of at least one token, with room in the cache for `max_tokens` more.

    With `top`, only the `top` highest scores are certain.

    Raises:
        ValueError: the prompt is empty or longer than the context.
    """
    if not ids:
        raise ValueError("the prompt is empty")
    # The last new token is never read and needs no room.
    capacity = min(len(ids) + max(max_tokens - 1, 0), model.config.n_positions)
    cache = KVCache(model.config, model.ops, 1, max(capacity, len(ids)))
    return Prefilled(tuple(ids), cache, _read(model, [ids], cache, top)[0])


class Generation(Generic[A]):
    """Several continuations of one prompt, generated in steps of one token per sample.

    A sample's tokens depend on the sampler's seed and the sample's number, not on the rest of the batch.
    `drafts` has the draft counts of each sample if the settings ask for speculation.
    """

    def __init__(
        self,
        model: Model[A],
        prompt: Prefilled[A],
        sampler: Sampler,
        settings: GenerationSettings,
        samples: Sequence[int] = (0,),
    ) -> None:
        self.finish_reasons: dict[int, FinishReason] = {}
        self.drafts = {sample: Drafts() for sample in samples} if settings.speculate else {}
        self._ahead: ReadAhead[A] | None = None
        self._model = model
        self._prompt = prompt
        self._sampler = sampler
        self._settings = settings
        self._rows = {sample: list(prompt.ids) for sample in samples}

    def stop(self, sample: int) -> None:
        """End a sample, because a stop string was found in its text."""
        self.finish_reasons[sample] = "stop"

    def __iter__(self) -> Iterator[Token]:
        """Yield the tokens of all samples, step by step, without end tokens."""
        scores = [self._prompt.scores] * len(self._rows)
        cache = self._prompt.cache.select([0] * len(self._rows))
        for _ in range(self._settings.max_tokens):
            for (sample, ids), row in zip(self._rows.items(), scores, strict=True):
                yield from self._choose(sample, ids, row)
            if cache.length == self._model.config.n_positions and not self._settings.slide:
                break
            cache = self._drop_finished(cache)
            if not self._rows or self._remaining() == 0:
                break
            scores, cache = self._advance(cache)
        for sample in self._rows:
            self.finish_reasons.setdefault(sample, "length")

    def _choose(self, sample: int, ids: list[int], scores: Scores) -> Iterator[Token]:
        chosen = self._sampler.choose(scores, ids, len(self._prompt.ids), sample)
        if chosen in self._settings.end_ids:
            self.stop(sample)
            return
        ids.append(chosen)
        yield _token(sample, chosen, scores, self._settings.logprobs)

    def _drop_finished(self, cache: KVCache[A]) -> KVCache[A]:
        going = [index for index, sample in enumerate(self._rows) if sample not in self.finish_reasons]
        if len(going) == len(self._rows):
            return cache
        self._rows = {sample: ids for sample, ids in self._rows.items() if sample not in self.finish_reasons}
        return cache.select(going)

    def _remaining(self) -> int:
        ids = next(iter(self._rows.values()))
        return len(self._prompt.ids) + self._settings.max_tokens - len(ids)

    def _advance(self, cache: KVCache[A]) -> tuple[list[Scores], KVCache[A]]:
        rows = list(self._rows.values())
        context = self._model.config.n_positions
        if cache.length < context:
            # Several rows would accept drafts of different lengths.
            if self._settings.speculate and len(rows) == 1:
                return [self._read_ahead(cache)], cache
            return _read(self._model, [ids[-1:] for ids in rows], cache, self._top_needed()), cache
        # What is cached depends on its position, so the newer half must be reread from position 0.
        kept = max(context // 2, 1)
        cache = KVCache(self._model.config, self._model.ops, len(rows), context)
        return _read(self._model, [ids[-kept:] for ids in rows], cache, self._top_needed()), cache

    def _top_needed(self) -> int | None:
        return top_needed(self._sampler, self._settings, len(next(iter(self._rows.values()))))

    def _read_ahead(self, cache: KVCache[A]) -> Scores:
        ((sample, ids),) = self._rows.items()
        if self._ahead is None:
            self._ahead = ReadAhead(self._model, self.drafts[sample])
        return self._ahead.read(ids, cache, self._remaining() - 1, self._top_needed())


def _read(model: Model[A], rows: Sequence[Sequence[int]], cache: KVCache[A], top: int | None) -> list[Scores]:
    ops = model.ops
    hidden = hidden_states(model, ops.token_ids(rows), cache, first=-1)
    return list(ops.to_numpy(logits(model, hidden, top))[:, 0])


def _token(sample: int, chosen: int, scores: Scores, count: int | None) -> Token:
    if count is None:
        return Token(sample, chosen)
    logprobs = log_softmax(scores)
    # Sorting takes longer than the rest.
    order: Sequence[int] = np.argsort(-logprobs, kind="stable")[:count].tolist() if count else ()
    top = tuple((token, float(logprobs[token])) for token in order)
    return Token(sample, chosen, float(logprobs[chosen]), top)
