"""How likely each token of a prompt is after those before it, read a part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gpt2cli.errors import Error
from gpt2cli.generation.requests import Token
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.kv_cache import KVCache
from gpt2cli.model.model import Model

# More logits at once would take much memory.
MOST_AT_ONCE = 128


def prompt_tokens(
    model: Model[Any], ids: Sequence[int], top: int, positions_at_once: Callable[[], int]
) -> Iterator[list[Token]]:
    """Yield the tokens of a prompt in parts, with log-probabilities in nats and the `top` likeliest of each.

    A part has as many positions as may be read at once then. The first token has none. The others have those
    that scoring gives a text of the same ids without BOS.

    Raises:
        ValueError: the ids exceed the context.
        Error: the model produced NaN.
    """
    if not ids:
        return
    yield [Token(ids[0])]
    cache = KVCache(model.config, model.ops, 1, max(1, len(ids) - 1))
    while cache.length < len(ids) - 1:
        start = cache.length
        targets = ids[start + 1 :][: max(1, min(positions_at_once(), MOST_AT_ONCE))]
        read = model.ops.token_ids([ids[start : start + len(targets)]])
        scores = logits(model, hidden_states(model, read, cache))[0]
        yield _tokens(model, scores, targets, top)


def _tokens(model: Model[Any], scores: Any, targets: Sequence[int], top: int) -> list[Token]:
    rows = model.ops.to_numpy(scores)
    places = [_highest(row, top) for row in rows]
    highest = [row[place] for row, place in zip(rows, places, strict=True)]
    own = rows[np.arange(len(targets)), targets].astype(np.float64)
    # This may overwrite the logits.
    logprobs = model.ops.token_statistics(scores, np.array(targets, np.int64), None)[0]
    if np.isnan(logprobs).any():
        raise Error("The model produced NaN.", "Its weights may be damaged.")
    # A difference of logits is one of log-probabilities, so that equal logits have equal ones.
    lists = [
        zip(place.tolist(), (values - mine + logprob).tolist(), strict=True)
        for place, values, mine, logprob in zip(places, highest, own, logprobs, strict=True)
    ]
    found = zip(targets, logprobs.tolist(), lists, strict=True)
    return [Token(target, logprob, tuple(entries)) for target, logprob, entries in found]


def _highest(row: Any, count: int) -> Any:
    """Return the places of the highest logits, highest first, the first of equal ones first."""
    if count == 0:
        return np.array([], np.int64)
    count = min(count, len(row))
    least = np.partition(row, -count)[-count]
    places = np.flatnonzero(row >= least)
    return places[np.argsort(-row[places], kind="stable")][:count]
