"""A prompt that the model has read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.kv_cache import KVCache
from gpt2cli.model.model import Model
from gpt2cli.ops.operations import A


@dataclass(frozen=True, eq=False, repr=False)
class Prefilled(Generic[A]):
    """A prompt that the model has read; `scores` are the logits (vocabulary,) of the next token."""

    ids: tuple[int, ...]
    cache: KVCache[A]
    scores: np.ndarray[Any, np.dtype[np.float32]]


def prefill(model: Model[A], ids: Sequence[int], max_tokens: int, top: int | None = None) -> Prefilled[A]:
    """Read a prompt of at least one token, with room in the cache for `max_tokens` more.

    With `top`, only the `top` highest scores are certain.

    Raises:
        ValueError: the prompt is empty or longer than the context.
    """
    *_, read = prefill_in_parts(model, ids, max_tokens, lambda: len(ids), top)
    assert read
    return read


def prefill_in_parts(
    model: Model[A],
    ids: Sequence[int],
    max_tokens: int,
    positions_at_once: Callable[[], int],
    top: int | None = None,
) -> Iterator[Prefilled[A] | None]:
    """Yield None after each part of a prompt that is read, and the whole in the end; see `prefill`.

    A part has as many positions as may be read at once then.

    Raises:
        ValueError: as `prefill` does.
    """
    if not ids:
        raise ValueError("the prompt is empty")
    # The last new token is never read and needs no room.
    capacity = min(len(ids) + max(max_tokens - 1, 0), model.config.n_positions)
    cache = KVCache(model.config, model.ops, 1, max(capacity, len(ids)))
    while cache.length < len(ids):
        part = ids[cache.length : cache.length + max(1, positions_at_once())]
        hidden = hidden_states(model, model.ops.token_ids([part]), cache, first=-1)
        yield None
    yield Prefilled(tuple(ids), cache, model.ops.to_numpy(logits(model, hidden, top))[0, 0])
