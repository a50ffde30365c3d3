"""What may follow a text: the likeliest tokens, and the probabilities of given continuations."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gpt2cli.errors import UsageError
from gpt2cli.generation.prompt import fit_prompt
from gpt2cli.generation.sampling import log_softmax
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.loading import LoadedModel
from gpt2cli.model.model import Model
from gpt2cli.model.prefill import Prefilled, prefill_in_parts
from gpt2cli.ops.operations import A
from gpt2cli.scoring.rows import Candidate, NextText, NextToken, in_unit
from gpt2cli.scoring.settings import NextSettings
from gpt2cli.scoring.windows import require_bos
from gpt2cli.text.token_text import token_text

# Each has a copy of what was read, which takes as long as reading some positions.
CONTINUATIONS_AT_ONCE, POSITIONS_OF_A_COPY = 16, 16


def next_tokens(loaded: LoadedModel, text: str, settings: NextSettings | None = None) -> list[NextText]:
    """Return the likeliest next tokens, or all candidates, with their probabilities, likeliest first.

    Raises:
        UsageError, InputError: as `Continuations` does.
    """
    rows = Continuations(loaded, text, settings or NextSettings()).rows()
    return [NextText(row.text, row.probability) for row in rows]


class Continuations:
    """A text, and what may follow it.

    `ids` are those of the text, `truncated` if the context had no room for all of them. `starts_with_bos`
    says whether BOS, or what the tokenizer puts there, stands before them.

    Raises:
        UsageError: the text or a candidate does not fit the context, the text is empty without BOS, or the
            model has no BOS token and needs one.
        InputError: the text or a candidate is not Unicode.
    """

    def __init__(self, loaded: LoadedModel, text: str, settings: NextSettings) -> None:
        settings.require_text(text)
        tokenizer, context = loaded.tokenizer, loaded.model.config.n_positions
        self._loaded = loaded
        self._settings = settings
        special = settings.special
        self._candidates = [tokenizer.encode(entry, special, continues=True) for entry in settings.candidates]
        room = max(map(len, self._candidates), default=1)
        if room > context:
            raise UsageError(f"A candidate has {room:,} tokens and the model's context holds {context:,}.")
        prefix = tokenizer.leading_ids if settings.bos is None else ()
        if settings.bos:
            prefix = [require_bos(tokenizer.bos_id)]
        self.starts_with_bos = bool(prefix)
        # The last token of a candidate is never read.
        self.ids, self.truncated = fit_prompt(
            [*prefix, *tokenizer.encode(text, special)], context + 1 - room, 1, settings.truncate
        )
        self._room = room
        self._rows: list[NextToken] | list[Candidate] | None = None

    def work(self, positions_at_once: Callable[[], int]) -> Iterator[None]:
        """Read the text and the candidates in parts of as many positions as may be read at once then.

        Raises:
            Error: the model failed.
        """
        model = self._loaded.model
        parts = prefill_in_parts(model, self.ids, self._room, positions_at_once)
        while (prompt := next(parts)) is None:
            yield
        if not self._candidates:
            self._rows = self._tokens(prompt)
            return
        found: list[float] = []
        for part in continuations_in_parts(model, prompt, self._candidates, positions_at_once):
            found += part
            yield
        self._rows = self._ranked(found)

    def rows(self) -> list[NextToken] | list[Candidate]:
        """Return the likeliest tokens or, if there are any, the candidates, likeliest first."""
        if self._rows is None:
            for _ in self.work(lambda: sys.maxsize):
                pass
        assert self._rows is not None
        return self._rows

    def _tokens(self, prompt: Prefilled[Any]) -> list[NextToken]:
        """Return the `top` likeliest tokens, likeliest first."""
        found = likeliest_tokens(prompt, self._settings.top)
        data = self._loaded.tokenizer.token_bytes
        return [
            NextToken(place, token_text(data(token_id)), token_id, *self._likelihood(logprob))
            for place, (token_id, logprob) in enumerate(found, 1)
        ]

    def _ranked(self, logprobs: Sequence[float]) -> list[Candidate]:
        """Return all candidates, likeliest first."""
        entries = zip(logprobs, self._settings.candidates, self._candidates, strict=True)
        ranked = sorted(entries, key=lambda entry: -entry[0])
        return [
            Candidate(place, text, len(ids), *self._likelihood(logprob))
            for place, (logprob, text, ids) in enumerate(ranked, 1)
        ]

    def _likelihood(self, logprob: float) -> tuple[float, float]:
        return math.exp(logprob), in_unit(max(0.0, -logprob), self._settings.unit)


def likeliest_tokens(prompt: Prefilled[A], count: int) -> list[tuple[int, float]]:
    """Return the ids of the `count` likeliest tokens and their log-probabilities in nats, likeliest first."""
    logprobs = log_softmax(prompt.scores)
    order = np.argsort(-logprobs, kind="stable")[:count]
    return [(int(token), float(logprobs[token])) for token in order]


def continuation_logprobs(
    model: Model[A], prompt: Prefilled[A], continuations: Sequence[Sequence[int]]
) -> list[float]:
    """Return the log-probability, in nats, of each continuation of one id or more after the prompt.

    Raises:
        ValueError: a continuation is empty, or exceeds the room in the prompt's cache.
    """
    parts = continuations_in_parts(model, prompt, continuations, lambda: sys.maxsize)
    return [logprob for part in parts for logprob in part]


def continuations_in_parts(
    model: Model[A],
    prompt: Prefilled[A],
    continuations: Sequence[Sequence[int]],
    positions_at_once: Callable[[], int],
) -> Iterator[list[float]]:
    """Yield the log-probabilities that are known after each part; together they are those of all in order.

    A part has as many positions as may be read at once then.

    Raises:
        ValueError: as `continuation_logprobs` does.
    """
    if not all(continuations):
        raise ValueError("a continuation is empty")
    place = 0
    while place < len(continuations):
        count = max(1, min(CONTINUATIONS_AT_ONCE, positions_at_once() // POSITIONS_OF_A_COPY))
        yield from _batch_logprobs(model, prompt, continuations[place : place + count], positions_at_once)
        place += count


def _batch_logprobs(
    model: Model[A],
    prompt: Prefilled[A],
    continuations: Sequence[Sequence[int]],
    positions_at_once: Callable[[], int],
) -> Iterator[list[float]]:
    first = log_softmax(prompt.scores)
    others: list[list[Any]] = [[] for _ in continuations]
    width = max(map(len, continuations)) - 1
    if width:
        # The last id of each is predicted but never read; padding is neither.
        rows = [[*ids[:-1], *[0] * (width - len(ids) + 1)] for ids in continuations]
        cache = prompt.cache.select([0] * len(rows))
        start = 0
        while start < width:
            end = min(width, start + max(1, positions_at_once() // len(rows)))
            part = model.ops.token_ids([row[start:end] for row in rows])
            hidden: Any = hidden_states(model, part, cache)
            for row, ids in enumerate(continuations):
                if targets := ids[start + 1 : end + 1]:
                    scores = model.ops.to_numpy(logits(model, hidden[row, : len(targets)]))
                    others[row].append(log_softmax(scores)[np.arange(len(targets)), targets])
            start = end
            yield []
    yield [
        float(first[ids[0]]) + (float(np.concatenate(parts).sum(dtype=np.float64)) if parts else 0.0)
        for ids, parts in zip(continuations, others, strict=True)
    ]
