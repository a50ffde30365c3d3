"""Weights for the compiled kernels that consist of several arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.ops.operations import ReadRows

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


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
