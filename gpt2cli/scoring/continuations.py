"""What may follow a text: the likeliest tokens, and the probabilities of given continuations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gpt2cli.errors import UsageError
from gpt2cli.generation.prompt import fit_prompt
from gpt2cli.generation.sampling import log_softmax
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.loading import LoadedModel
from gpt2cli.model.model import Model
from gpt2cli.model.prefill import Prefilled, prefill
from gpt2cli.ops.operations import A
from gpt2cli.scoring.rows import Candidate, NextText, NextToken, in_unit
from gpt2cli.scoring.settings import NextSettings
from gpt2cli.scoring.windows import require_bos
from gpt2cli.text.token_text import token_text

CONTINUATIONS_AT_ONCE = 16


def next_tokens(loaded: LoadedModel, text: str, settings: NextSettings | None = None) -> list[NextText]:
    """Return the likeliest next tokens, or all candidates, with their probabilities, likeliest first.

    Raises:
        UsageError, InputError: as `Continuations` does.
    """
    rows = Continuations(loaded, text, settings or NextSettings()).rows()
    return [NextText(row.text, row.probability) for row in rows]


class Continuations:
    """A text that has been read, and what may follow it.

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
        self._prompt = prefill(loaded.model, self.ids, room)

    def rows(self) -> list[NextToken] | list[Candidate]:
        """Return the likeliest tokens or, if there are any, the candidates, likeliest first."""
        return self.candidates() if self._candidates else self.tokens()

    def tokens(self) -> list[NextToken]:
        """Return the `top` likeliest tokens, likeliest first."""
        found = likeliest_tokens(self._prompt, self._settings.top)
        data = self._loaded.tokenizer.token_bytes
        return [
            NextToken(place, token_text(data(token_id)), token_id, *self._likelihood(logprob))
            for place, (token_id, logprob) in enumerate(found, 1)
        ]

    def candidates(self) -> list[Candidate]:
        """Return all candidates, likeliest first."""
        logprobs = continuation_logprobs(self._loaded.model, self._prompt, self._candidates)
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
    if not all(continuations):
        raise ValueError("a continuation is empty")
    found: list[float] = []
    for first in range(0, len(continuations), CONTINUATIONS_AT_ONCE):
        found += _batch_logprobs(model, prompt, continuations[first : first + CONTINUATIONS_AT_ONCE])
    return found


def _batch_logprobs(
    model: Model[A], prompt: Prefilled[A], continuations: Sequence[Sequence[int]]
) -> Iterator[float]:
    first = log_softmax(prompt.scores)
    width = max(map(len, continuations)) - 1
    hidden: Any = None
    if width:
        # The last id of each is predicted but never read; padding is neither.
        rows = [[*ids[:-1], *[0] * (width - len(ids) + 1)] for ids in continuations]
        cache = prompt.cache.select([0] * len(rows))
        hidden = hidden_states(model, model.ops.token_ids(rows), cache)
    for row, ids in enumerate(continuations):
        total = float(first[ids[0]])
        if len(ids) > 1:
            scores = model.ops.to_numpy(logits(model, hidden[row, : len(ids) - 1]))
            total += float(log_softmax(scores)[np.arange(len(ids) - 1), ids[1:]].sum(dtype=np.float64))
        yield total
