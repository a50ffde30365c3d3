"""Weights as the compiled kernels take them, where an array alone does not say it all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.ops.operations import ReadRows

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Int8Matrix:
    """Hold a matrix of whole numbers with a scale a column, of `shape`, as `kernels.pack` lays it out.

    With totals, rows of the other factor of a product are rounded to 8 bits a number where that is faster
    than 15 and little is lost by it, and without them always to 15.
    """

    shape: tuple[int, ...]
    panels: Array
    scales: Array
    totals: Array | None

    @property
    def nbytes(self) -> int:
        """The bytes that a product reads."""
        return sum(part.nbytes for part in (self.panels, self.scales, self.totals) if part is not None)


@dataclass
class Table:
    """Hold a matrix (rows, width) of which single rows are looked up, as an embedding's are.

    A head may have a screen: itself in 8 bits, which tells of most rows that their products are not among the
    highest. `failures` counts how much more often it told that of too few than of enough.
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
        """The bytes that a product reads, but for the few rows that a screen leaves."""
        return self.screen.nbytes if self.screen else self.array.nbytes

    def rows(self, places: Array) -> Array:
        """Return the rows (places, width) as they are stored."""
        return self.read_rows(places) if self.read_rows else self.array[places]


def as_table(weight: Array | Table) -> Table:
    """Return a weight as a table, which an array is one of."""
    return weight if isinstance(weight, Table) else Table(weight)
