"""Weights for the compiled kernels that consist of several arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.ops import kernels
from gpt2cli.ops.operations import ReadRows

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# From so many rows on, a product is faster with panels: twice at 24 rows, by a fifth at 250.
PACKED_ROWS = 13
# So many products have lost about the time that packing their weight takes.
USES_BEFORE_PACKING = 16
# Of the memory that is free, what panels may take.
SHARE_OF_FREE = 4
CACHE_LINE_BYTES = 64


@dataclass(frozen=True, eq=False, repr=False)
class Int8Matrix:
    """An int8 matrix (depth, columns), packed by `kernels.pack_int8`.

    Activations multiplied by it are rounded to 15 bits. If it has totals, rows that lose little precision
    are rounded to 8 bits on processors where that is faster.
    """

    shape: tuple[int, ...]
    panels: Array
    scales: Array
    totals: Array | None

    @property
    def nbytes(self) -> int:
        """The bytes that a product reads from memory."""
        return sum(part.nbytes for part in (self.panels, self.scales, self.totals) if part is not None)


@dataclass(eq=False, repr=False)
class Table:
    """A matrix (rows, width) whose rows can be read individually, such as an embedding.

    A head may have a screen, an int8 copy that rules out most tokens before the head is read. `failures`
    counts how often the screen left too many tokens, minus how often it left few enough.
    """

    array: Array
    read_rows: ReadRows | None = None
    screen: Int8Matrix | None = None
    failures: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The rows and the width."""
        shape: tuple[int, ...] = self.array.shape
        return shape

    @property
    def nbytes(self) -> int:
        """The bytes that a product reads from memory, except the few rows that pass a screen."""
        return self.screen.nbytes if self.screen else self.array.nbytes

    def rows(self, indices: Array) -> Array:
        """Return rows (indices, width) in their stored dtype."""
        return self.read_rows(indices) if self.read_rows else self.array[indices]


def as_table(weight: Array | Table) -> Table:
    """Return a weight as a table, wrapping an array."""
    return weight if isinstance(weight, Table) else Table(weight)


@dataclass(eq=False, repr=False)
class _Used:
    # Kept, so that no other weight gets its id.
    weight: Array
    times: int = 0
    panels: Array | None = None


class PackedWeights:
    """Float32 weights that are kept a second time, as panels, because many rows are multiplied by them often.

    They take at most a quarter of what `free_memory` returns when the first is packed.
    """

    def __init__(self, free_memory: Callable[[], int]) -> None:
        self._used: dict[int, _Used] = {}
        self._free_memory = free_memory
        self._room: int | None = None

    def panels(self, weight: Array, rows: int) -> Array | None:
        """Return the panels of a weight (depth, columns) for a product of `rows` rows, if it has any."""
        if rows < PACKED_ROWS or weight.dtype != np.float32 or weight.flags.f_contiguous:
            return None
        used = self._used.setdefault(id(weight), _Used(weight))
        used.times += 1
        if used.times == USES_BEFORE_PACKING:
            used.panels = self._pack(weight)
        return used.panels

    def _pack(self, weight: Array) -> Array | None:
        if self._room is None:
            self._room = self._free_memory() // SHARE_OF_FREE
        if weight.nbytes > self._room:
            return None
        self._room -= weight.nbytes
        return pack(weight)


def pack(weight: Array) -> Array:
    """Return the panels of a float32 weight (depth, columns), (panels, depth, columns of a panel)."""
    (depth, columns), width = weight.shape, kernels.panel_columns()
    count = -(-columns // width)
    line = CACHE_LINE_BYTES // 4
    memory = np.empty(count * depth * width + line, np.float32)
    begin = -memory.ctypes.data // 4 % line
    panels = memory[begin : begin + count * depth * width].reshape(count, depth, width)
    kernels.pack(weight, panels)
    return panels
