"""Rows of numbers as TSV, CSV, JSON and JSON Lines, written as they come.

Every format tells with its numbers what makes them comparable. In TSV and CSV these are columns, because
pandas and R read those without being told how, and because tables of several models can then be joined.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, Protocol

from gpt2cli.cli.output.streams import Write, json_line
from gpt2cli.text.printable import escaped

Record = Mapping[str, Any]
Format = Literal["tsv", "csv", "json", "jsonl"]
DELIMITERS = {"tsv": "\t", "csv": ","}

# float32 computes no more digits than these.
DECIMALS = 6
# On a terminal, where rows are aligned before all of them are known.
TEXT_WIDTH, NUMBER_WIDTH, COUNT_WIDTH = 12, 10, 5


class RowWriter(Protocol):
    """Take records one by one; their values are text, numbers, truth values or None."""

    def add(self, record: Record) -> None:
        """Write the next record."""

    def close(self, extra: Mapping[str, Iterable[Record]]) -> None:
        """End the output; formats with room for them also tell the extra records."""


@dataclass(frozen=True)
class RowOutput:
    """Choose a format and where it is written; TSV may be aligned for a reader at a terminal."""

    kind: Format
    write: Write
    aligned: bool = False

    def write_rows(
        self,
        metadata: Record,
        columns: Sequence[str],
        records: Iterable[Record],
        extra: Callable[[], Mapping[str, Iterable[Record]]] = dict,
    ) -> None:
        """Write records as they come, nothing before the first, then those that `extra` returns."""
        rest = iter(records)
        first = next(rest, None)
        writer = self._open(metadata, columns)
        for record in [] if first is None else chain([first], rest):
            writer.add(record)
        writer.close(extra())

    def _open(self, metadata: Record, columns: Sequence[str]) -> RowWriter:
        if self.kind == "json":
            return JsonRowWriter(self.write, metadata)
        if self.kind == "jsonl":
            return JsonLinesRowWriter(self.write, metadata)
        if self.aligned and self.kind == "tsv":
            return AlignedRowWriter(self.write, metadata, columns)
        return DelimitedRowWriter(self.write, metadata, columns, DELIMITERS[self.kind])


class DelimitedRowWriter:
    """Write a header and a line a record; None is an empty cell."""

    def __init__(self, write: Write, metadata: Record, columns: Sequence[str], delimiter: str) -> None:
        self._write = write
        self._columns = columns
        self._constants = [_cell(name, value) for name, value in metadata.items()]
        self._delimiter = delimiter
        # The csv module would leave a lone carriage return bare, and its readers take that for a line end.
        self._special = re.compile(f'["\r\n{delimiter}]')
        self._line([*columns, *metadata])

    def add(self, record: Record) -> None:
        """Write a line."""
        self._line([_cell(column, record.get(column)) for column in self._columns] + self._constants)

    def close(self, extra: Mapping[str, Iterable[Record]]) -> None:
        """Have nothing left to write."""

    def _line(self, cells: Iterable[str]) -> None:
        line = self._delimiter.join(map(self._quoted, cells)) + "\n"
        self._write(line.encode("utf-8", "surrogateescape"))

    def _quoted(self, cell: str) -> str:
        if self._special.search(cell):
            return '"' + cell.replace('"', '""') + '"'
        return cell


class JsonLinesRowWriter:
    """Write an object a line, with the metadata in each."""

    def __init__(self, write: Write, metadata: Record) -> None:
        self._write = write
        self._metadata = metadata

    def add(self, record: Record) -> None:
        """Write a line."""
        self._write(json_line({**_rounded(record), **self._metadata}))

    def close(self, extra: Mapping[str, Iterable[Record]]) -> None:
        """Have nothing left to write."""


class JsonRowWriter:
    """Write one object that holds the metadata, the list `rows`, and lists of extra records."""

    def __init__(self, write: Write, metadata: Record) -> None:
        self._write = write
        self._before = b"\n"
        opening = json_line(metadata).removesuffix(b"}\n")
        self._write(opening + b', "rows": [')

    def add(self, record: Record) -> None:
        """Write a member of `rows`, on a line of its own."""
        self._write(self._before + json_line(_rounded(record)).rstrip(b"\n"))
        self._before = b",\n"

    def close(self, extra: Mapping[str, Iterable[Record]]) -> None:
        """Write the extra lists and end the object."""
        lists = {name: [_rounded(record) for record in records] for name, records in extra.items()}
        self._write(b"\n]")
        for name, records in lists.items():
            self._write(f", {json.dumps(name)}: ".encode() + json.dumps(records, ensure_ascii=False).encode())
        self._write(b"}\n")


class AlignedRowWriter:
    """Write for a reader at a terminal: the metadata once, then columns."""

    def __init__(self, write: Write, metadata: Record, columns: Sequence[str]) -> None:
        from rich.cells import cell_len

        self._length = cell_len
        self._write = write
        self._columns = columns
        self._widths: list[int] = []
        told = " ".join(f"{name}={_cell('', value)}" for name, value in metadata.items() if value is not None)
        self._print(f"# {told}")

    def add(self, record: Record) -> None:
        """Write a line; characters that would break it are shown as escapes."""
        values = [record.get(column) for column in self._columns]
        if not self._widths:
            self._widths = [_width(*pair) for pair in zip(self._columns, values, strict=True)]
            self._line(self._columns)
        self._line([escaped(_cell(*pair)) for pair in zip(self._columns, values, strict=True)])

    def close(self, extra: Mapping[str, Iterable[Record]]) -> None:
        """Have nothing left to write."""

    def _line(self, cells: Sequence[str]) -> None:
        padded = []
        for index, cell in enumerate(cells):
            # A column grows with its cells, so that the ones below are aligned.
            self._widths[index] = max(self._widths[index], min(self._length(cell), TEXT_WIDTH))
            padded.append(cell + " " * (self._widths[index] - self._length(cell)))
        self._print("  ".join(padded).rstrip())

    def _print(self, line: str) -> None:
        self._write((line + "\n").encode("utf-8", "surrogateescape"))


def _rounded(record: Record) -> dict[str, Any]:
    return {name: _round(name, value) for name, value in record.items()}


def _round(name: str, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    # A probability may be far below what decimals show.
    return float(f"{value:.{DECIMALS}g}") if name == "probability" else round(value, DECIMALS)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(_round(name, value))


def _width(column: str, value: Any) -> int:
    usual = {str: TEXT_WIDTH, float: NUMBER_WIDTH, int: COUNT_WIDTH}.get(type(value), 0)
    return max(len(column), usual)
