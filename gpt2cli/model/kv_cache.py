"""The keys and values of the positions that the decoder has already read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol

import numpy as np

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.model.kv_memory import KVMemory, Spans
from gpt2cli.ops.operations import A, LayerCache, Ops, Places


class Reading(Generic[A]):
    """New positions of some texts side by side, each behind its own past.

    `places` are their positions, all before `end`, and `outputs` says which have an output in the last layer.
    """

    def __init__(self, memory: KVMemory[A] | None, spans: Spans) -> None:
        self._memory = memory
        self._spans = spans
        # Only the last layer may skip outputs.
        self._whole = spans * np.array([1, 1, 1, 0])
        rows = spans[:, 1:].tolist()
        self.end = max(past + time for past, time, _ in rows)
        self.places: Places = _joined([(past, past + time) for past, time, _ in rows])
        ends = np.cumsum(spans[:, 2]).tolist()
        self.outputs: Places = _joined(
            [(end - time + skipped, end) for end, (_, time, skipped) in zip(ends, rows, strict=True)]
        )

    def reading(self, batch: int, time: int, first: int) -> Reading[A]:
        """Return this, which is what a cache is asked for."""
        return self

    def advance(self, time: int) -> None:
        """Do nothing: whoever made this knows what it reads."""

    def shifted(self, offset: int) -> Places:
        """Return the places in a table that has `offset` rows before its first position."""
        if isinstance(self.places, slice):
            return slice(self.places.start + offset, self.places.stop + offset)
        return self.places + offset

    def past(self, number: int, is_last: bool) -> tuple[LayerCache[A] | None, int]:
        """Return the past of a layer, or None, and the first position with an output where there is none."""
        spans = self._spans if is_last else self._whole
        if self._memory:
            return self._memory.layer(number, spans), 0
        return None, int(spans[0, 3])


def uncached(time: int, first: int) -> Reading[Any]:
    """Return the reading of whole texts of the same length, without the outputs before position `first`."""
    first += time if first < 0 else 0
    return Reading(None, np.array([[0, 0, time, first]]))


class Cache(Protocol[A]):
    """What the decoder asks of a past."""

    def reading(self, batch: int, time: int, first: int) -> Reading[A]:
        """Return where `time` new positions of each text go, of which those before `first` need no output."""

    def advance(self, time: int) -> None:
        """Count the new positions of each text, when every layer has read them."""


class KVCache(Generic[A]):
    """The keys and values of texts that are read in step, with their length so far.

    Raises:
        ValueError: the capacity exceeds the model's context.
    """

    def __init__(self, config: ModelConfig, ops: Ops[A], batch: int, capacity: int) -> None:
        if capacity > config.n_positions:
            raise ValueError(f"capacity {capacity} exceeds the context of {config.n_positions}")
        self._config = config
        self._ops = ops
        self._batch = batch
        self._memory = KVMemory(config, ops, batch * capacity)
        self.capacity = capacity
        self.length = 0

    def reading(self, batch: int, time: int, first: int) -> Reading[A]:
        """Return where `time` new positions of each text go.

        The length changes only in `advance`, so that every layer sees the same length.

        Raises:
            ValueError: the new positions do not fit, or there are more or fewer texts than in the cache.
        """
        end = self.length + time
        if batch != self._batch:
            raise ValueError(f"{batch} texts do not fit a cache of {self._batch}")
        if end > self.capacity:
            place = "the context" if end > self._config.n_positions else "a cache"
            raise ValueError(f"{end} positions do not fit {place} of {self.capacity}")
        first += time if first < 0 else 0
        spans = np.empty((batch, 4), np.int64)
        spans[:] = (0, self.length, time, first)
        spans[:, 0] = np.arange(batch) * self.capacity
        return Reading(self._memory, spans)

    def advance(self, time: int) -> None:
        """Add `time` positions, appended by every layer, to the length."""
        self.length += time

    def truncate(self, length: int) -> None:
        """Reduce the length to the first `length` positions.

        The others stay until they are overwritten, so `advance` can restore them.

        Raises:
            ValueError: `length` is negative or exceeds the current length.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate a cache of {self.length} positions to {length}")
        self.length = length

    def select(self, rows: Sequence[int]) -> KVCache[A]:
        """Return a copy with the given rows in the given order, repeats allowed."""
        chosen = KVCache(self._config, self._ops, len(rows), self.capacity)
        chosen.length = self.length
        for place, row in enumerate(rows):
            begin, to = row * self.capacity, place * self.capacity
            chosen._memory.copy(self._memory, begin, to, self.length)
        return chosen


def _joined(ranges: Sequence[tuple[int, int]]) -> Places:
    """Return the numbers of all ranges, one after the other."""
    if len(ranges) == 1:
        return slice(*ranges[0])
    parts = [np.arange(*each) for each in ranges]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
