"""Rows aligned for a terminal while they are still being computed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpt2cli.cli.output.record import Record, spell
from gpt2cli.cli.output.streams import Write, terminal_columns, text_bytes
from gpt2cli.cli.output.terminal.columns import (
    GAP,
    columns_that_fit,
    comment_lines,
    note_left_out,
    stacked_row,
)
from gpt2cli.text.cells import cell_width, crop, shorten
from gpt2cli.text.printable import escaped

TEXT_WIDTH, NUMBER_WIDTH, COUNT_WIDTH = 12, 10, 5
LEAST_TEXT_WIDTH = 8
DIGITS = 9


class AlignedRowWriter:
    """Write the metadata once, then the columns that fit the terminal.

    If not even the essential columns fit, each row becomes a list of names and values.
    """

    def __init__(self, write: Write, metadata: Record, columns: Sequence[str]) -> None:
        self._write = write
        self._columns = columns
        # Those of a table are its own.
        self._names = [escaped(column) for column in columns]
        self._room = terminal_columns()
        self._kept: list[int] | None = None
        self._widths: list[int] = []
        words = [
            f"{name}={escaped(spell('', value))}" for name, value in metadata.items() if value is not None
        ]
        self._print(comment_lines(words, self._room))

    def add(self, record: Record) -> None:
        """Write a row, with control characters escaped."""
        values = [record.get(column) for column in self._columns]
        if not self._widths:
            self._begin(values)
        if self._kept is None:
            cells = [escaped(spell(*pair)) for pair in zip(self._columns, values, strict=True)]
            self._print([*stacked_row(self._names, cells, self._room), ""])
            return
        cells = [escaped(spell(self._columns[place], values[place])) for place in self._kept]
        self._grow(cells)
        self._print([self._fitting_line(cells, [values[place] for place in self._kept])])

    def close(self, extra: Mapping[str, Iterable[Record]]) -> None:
        """Do nothing, because every record has been written."""

    def _begin(self, values: Sequence[Any]) -> None:
        for text_width in (TEXT_WIDTH, LEAST_TEXT_WIDTH):
            widths = [_usual_width(*pair, text_width) for pair in zip(self._names, values, strict=True)]
            self._widths = widths
            self._kept = columns_that_fit(self._names, widths, self._room)
            if self._kept is not None:
                self._widths = [widths[place] for place in self._kept]
                self._print(note_left_out(self._names, self._kept, self._room))
                self._print([self._line([self._names[place] for place in self._kept])])
                return

    def _grow(self, cells: Sequence[str]) -> None:
        """Widen columns to fit their cells if there is room, so that later rows are aligned."""
        spare = self._room - sum(self._widths) - len(GAP) * (len(cells) - 1)
        for index, cell in enumerate(cells):
            wanted = min(cell_width(cell), TEXT_WIDTH) - self._widths[index]
            growth = max(0, min(wanted, spare))
            self._widths[index] += growth
            spare -= growth

    def _fitting_line(self, cells: list[str], values: Sequence[Any]) -> str:
        """Return a line that fits, shortening texts first and then numbers."""
        for index in sorted(range(len(cells)), key=lambda place: not isinstance(values[place], str)):
            excess = cell_width(self._line(cells)) - self._room
            if excess <= 0:
                break
            width = max(1, cell_width(cells[index]) - excess)
            if isinstance(values[index], str):
                cut = shorten if os.sep in cells[index] else crop
                cells[index] = cut(cells[index], width)
            elif isinstance(values[index], float):
                cells[index] = _narrow(values[index], width)
        return self._line(cells, self._room)

    def _line(self, cells: Sequence[str], room: float = math.inf) -> str:
        """Return the cells in their columns; padding gives way where the line would exceed the room."""
        line, stop = "", 0
        needed = sum(map(cell_width, cells)) + len(GAP) * (len(cells) - 1)
        for cell, width in zip(cells, self._widths, strict=True):
            # A cell may extend into the next column and displaces only the cells after it.
            line = line and line + GAP
            line += " " * int(min(stop, room - needed) - cell_width(line)) + cell
            stop += width + len(GAP)
            needed -= cell_width(cell) + len(GAP)
        return line.rstrip()

    def _print(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._write(text_bytes(line + "\n"))


def _usual_width(name: str, value: Any, text_width: int) -> int:
    usual = {str: text_width, int: COUNT_WIDTH, bool: COUNT_WIDTH}.get(type(value), NUMBER_WIDTH)
    return max(cell_width(name), usual)


def _narrow(value: float, width: int) -> str:
    """Return a number with as many digits as fit, but at least one."""
    spelled = (f"{value:.{digits}g}" for digits in range(DIGITS, 0, -1))
    return next((text for text in spelled if len(text) <= width), f"{value:.1g}")
