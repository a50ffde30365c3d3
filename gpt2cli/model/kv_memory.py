"""The memory for keys and values that the texts of a running batch share."""

from __future__ import annotations

from typing import Any, Generic, TypeAlias

import numpy as np

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.ops.operations import A, LayerCache, Ops

Spans: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


class KVMemory(Generic[A]):
    """Keys and values of a number of positions in every layer, in one allocation.

    A text claims neighbouring positions and frees them at its end. Nothing else moves.
    """

    def __init__(self, config: ModelConfig, ops: Ops[A], positions: int) -> None:
        self.positions = positions
        # (layers, 2, kv heads, positions, head width)
        self._held: Any = ops.empty((config.n_layer, 2, config.kv_heads, positions, config.head_width))
        # Free ranges in order, none beside another.
        self._free = [(0, positions)] if positions else []

    @property
    def free_positions(self) -> int:
        """The number of positions that nobody has claimed."""
        return sum(end - begin for begin, end in self._free)

    def claim(self, count: int) -> int | None:
        """Claim `count` neighbouring positions and return where they begin, or None if there are none."""
        for place, (begin, end) in enumerate(self._free):
            if end - begin >= count:
                self._free[place : place + 1] = [(begin + count, end)] if end - begin > count else []
                return begin
        return None

    def free(self, begin: int, count: int) -> None:
        """Give back `count` claimed positions from `begin` on."""
        ranges: list[tuple[int, int]] = []
        for first, end in sorted([*self._free, (begin, begin + count)]):
            if ranges and ranges[-1][1] == first:
                ranges[-1] = (ranges[-1][0], end)
            else:
                ranges.append((first, end))
        self._free = ranges

    def copy(self, source: KVMemory[A], begin: int, to: int, count: int) -> None:
        """Copy `count` positions from `begin` on in a source, which may be this, to those from `to` on."""
        self._held[:, :, :, to : to + count] = source._held[:, :, :, begin : begin + count]

    def layer(self, number: int, spans: Spans) -> LayerCache[A]:
        """Return the cache of one layer with the rows that are read."""
        return LayerCache(self._held[number, 0], self._held[number, 1], spans)


def position_bytes(config: ModelConfig, ops: Ops[Any]) -> int:
    """Return the bytes of the keys and values of one position in all layers."""
    return 2 * config.n_layer * config.kv_heads * config.head_width * ops.number_bytes
