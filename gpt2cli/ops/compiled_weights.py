"""Weights for the compiled kernels that are more than one array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.ops.operations import ReadRows

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Int8Matrix:
    """An int8 matrix (depth, columns), packed by `kernels.pack_int8`.

    Activations multiplied with it are rounded to 15 bits. If it has totals, rows that lose little are
    rounded to 8 bits, on processors where that is faster.
    """

    shape: tuple[int, ...]
    panels: Array
    scales: Array
    totals: Array | None

    @property
    def nbytes(self) -> int:
        """The bytes that a product reads from memory."""
        return sum(part.nbytes for part in (self.panels, self.scales, self.totals) if part is not None)


@dataclass
class Table:
    """A matrix (rows, width) whose rows can be read one by one, such as an embedding.

    A head may have a screen: its own copy in int8, which rules out most tokens before the head is read.
    `failures` counts how often the screen left too many tokens, minus how often it left few enough.
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
        """The bytes that a product reads from memory, except for the few rows that a screen leaves."""
        return self.screen.nbytes if self.screen else self.array.nbytes

    def rows(self, indices: Array) -> Array:
        """Return rows (indices, width) as they are stored."""
        return self.read_rows(indices) if self.read_rows else self.array[indices]


def as_table(weight: Array | Table) -> Table:
    """Return a weight as a table, wrapping an array."""
    return weight if isinstance(weight, Table) else Table(weight)
