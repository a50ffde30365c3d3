"""What comes next: the likeliest tokens, and how likely given continuations of one prompt are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gpt2cli.generation.engine import Prefilled
from gpt2cli.generation.sampling import log_softmax
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.model import Model
from gpt2cli.ops.operations import A

CONTINUATIONS_AT_ONCE = 16


def likeliest_tokens(prompt: Prefilled[A], count: int) -> list[tuple[int, float]]:
    """Return the ids of the likeliest next tokens and their log-probabilities in nats, likeliest first."""
    logprobs = log_softmax(prompt.scores)
    order = np.argsort(-logprobs, kind="stable")[:count]
    return [(int(token), float(logprobs[token])) for token in order]


def continuation_logprobs(
    model: Model[A], prompt: Prefilled[A], continuations: Sequence[Sequence[int]]
) -> list[float]:
    """Return the log-probability, in nats, of each continuation of one id or more, given the prompt.

    Raises:
        ValueError: a continuation is empty, or longer than the prompt's cache has room for.
    """
    if not all(continuations):
        raise ValueError("there is nothing to continue with")
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
        # The last id of each is predicted, never read; what fills the shorter ones is neither.
        rows = [[*ids[:-1], *[0] * (width - len(ids) + 1)] for ids in continuations]
        cache = prompt.cache.select([0] * len(rows))
        hidden = hidden_states(model, model.ops.token_ids(rows), cache)
    for row, ids in enumerate(continuations):
        total = float(first[ids[0]])
        if len(ids) > 1:
            scores = model.ops.to_numpy(logits(model, hidden[row, : len(ids) - 1]))
            total += float(log_softmax(scores)[np.arange(len(ids) - 1), ids[1:]].sum(dtype=np.float64))
        yield total
