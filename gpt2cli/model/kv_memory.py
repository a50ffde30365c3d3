"""The memory for keys and values that the texts of a running batch share."""

from __future__ import annotations

from typing import Any, Generic, TypeAlias

import numpy as np

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.ops.operations import A, LayerCache, Ops

# Of the memory that is free, what keys and values may take.
SHARE_OF_FREE = 4
# Kernels are faster where a slot has a multiple of so many positions.
SLOT_MULTIPLE = 8
Spans: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


class KVMemory(Generic[A]):
    """Keys and values of a number of positions in every layer, in one allocation.

    A text claims neighbouring positions and frees them at its end. Nothing else moves. With a `slot`, it
    claims multiples of so many positions, which are filled with zeros, and so begins where a slot does; one
    more position, the last, is nobody's.
    """

    def __init__(self, config: ModelConfig, ops: Ops[A], positions: int, slot: int = 0) -> None:
        self.positions = positions
        self.slot = slot
        held = positions + 1 if slot else positions
        # (layers, 2, kv heads, positions, head width)
        self._held: Any = ops.empty((config.n_layer, 2, config.kv_heads, held, config.head_width))
        # Free ranges in order, none beside another.
        self._free = [(0, positions)] if positions else []

    @property
    def slots(self) -> int:
        """The number of whole slots."""
        return self.positions // self.slot if self.slot else 0

    @property
    def free_positions(self) -> int:
        """The number of positions that nobody has claimed."""
        return sum(end - begin for begin, end in self._free)

    def claim(self, count: int, last: bool = False) -> int | None:
        """Claim `count` neighbouring positions and return where they begin, or None if there are none.

        They are the first that are free, or with slots the `last`.
        """
        for first, end in reversed(self._free) if last else self._free:
            if end - first >= count:
                begin = first
                if last:
                    begin += (end - first - count) // self.slot * self.slot
                claimed = self._end(begin, count)
                self._free.remove((first, end))
                self._free += [part for part in ((first, begin), (claimed, end)) if part[0] < part[1]]
                self._free.sort()
                if self.slot:
                    # Numbers that are no numbers would spoil a sum even with a weight of 0.
                    self._held[:, :, :, begin:claimed] = 0.0
                return begin
        return None

    def free(self, begin: int, count: int) -> None:
        """Give back `count` claimed positions from `begin` on."""
        ranges: list[tuple[int, int]] = []
        for first, end in sorted([*self._free, (begin, self._end(begin, count))]):
            if ranges and ranges[-1][1] == first:
                ranges[-1] = (ranges[-1][0], end)
            else:
                ranges.append((first, end))
        self._free = ranges

    def copy(self, source: KVMemory[A], begin: int, to: int, count: int) -> None:
        """Copy `count` positions from `begin` on in a source, which may be this, to those from `to` on."""
        self._held[:, :, :, to : to + count] = source._held[:, :, :, begin : begin + count]

    def _end(self, begin: int, count: int) -> int:
        """Return where `count` claimed positions end; the last slot may be a part of one."""
        if not self.slot:
            return begin + count
        return min(begin + -(-count // self.slot) * self.slot, self.positions)

    def layer(self, number: int, spans: Spans) -> LayerCache[A]:
        """Return the cache of one layer with the rows that are read."""
        return LayerCache(self._held[number, 0], self._held[number, 1], spans)


def open_memory(
    config: ModelConfig, ops: Ops[A], rows: int, most_bytes: int | None, capacity: int | None
) -> KVMemory[A]:
    """Return memory for as much as `rows` requests of at most `capacity` positions need.

    It takes at most so many bytes, by default a quarter of what is free. Without a capacity, requests may
    need a whole context, and there is as much again for texts that have ended.
    """
    longest, bytes_each = capacity or config.n_positions, position_bytes(config, ops)
    if ops.decodes_ahead:
        longest = min(-(-longest // SLOT_MULTIPLE) * SLOT_MULTIPLE, config.n_positions)
    positions = rows * longest * (1 if capacity else 2)
    if most_bytes is not None:
        positions = min(positions, most_bytes // bytes_each)
    elif positions > longest:
        # One request must fit whatever is free.
        positions = max(min(positions, _free_bytes(ops) // SHARE_OF_FREE // bytes_each), longest)
    slot = 0
    if ops.decodes_ahead:
        # A longer text takes several, and is decoded by itself.
        share = positions // rows
        slot = longest if share >= longest else max(share // SLOT_MULTIPLE, 1) * SLOT_MULTIPLE
    return KVMemory(config, ops, positions, slot)


def _free_bytes(ops: Ops[Any]) -> int:
    # A request alone asks nobody.
    from gpt2cli.model.free_memory import available_memory

    return ops.free_memory() or available_memory()


def position_bytes(config: ModelConfig, ops: Ops[Any]) -> int:
    """Return the bytes of the keys and values of one position in all layers."""
    return 2 * config.n_layer * config.kv_heads * config.head_width * ops.number_bytes
