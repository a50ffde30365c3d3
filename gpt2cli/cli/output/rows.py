"""Writing rows as TSV, CSV, JSON and JSON Lines, one by one.

Every format includes the metadata that make its numbers comparable. In TSV and CSV these are columns, so that
pandas and R read them without options and tables of several models can be joined.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, Protocol

from gpt2cli.cli.output.record import Record, round_record, spell
from gpt2cli.cli.output.streams import Write, json_line
from gpt2cli.text.json_text import json_text

Format = Literal["tsv", "csv", "json", "jsonl"]
FORMATS: tuple[Format, ...] = ("tsv", "csv", "json", "jsonl")
DELIMITERS = {"tsv": "\t", "csv": ","}


def row_format(named: str | None) -> Format:
    """Return the format of rows in a file whose name asks for a format, TSV by default."""
    return next((name for name in FORMATS if name == named), "tsv")


class RowWriter(Protocol):
    """A writer of records."""

    def add(self, record: Record) -> None:
        """Write the next record."""

    def close(self, extra: Mapping[str, Iterable[Record]]) -> None:
        """End the output; some formats also write the extra records."""


@dataclass(frozen=True)
class RowOutput:
    """A format and its destination; TSV may be aligned for a terminal."""

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
        """Write records one by one, the header with the first, then the records that `extra` returns."""
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
            from gpt2cli.cli.output.terminal.aligned_rows import AlignedRowWriter

            return AlignedRowWriter(self.write, metadata, columns)
        return DelimitedRowWriter(self.write, metadata, columns, DELIMITERS[self.kind])


class DelimitedRowWriter:
    """Write a header and one line per record, with empty cells for None."""

    def __init__(self, write: Write, metadata: Record, columns: Sequence[str], delimiter: str) -> None:
        self._write = write
        self._columns = columns
        self._constants = [spell(name, value) for name, value in metadata.items()]
        self._delimiter = delimiter
        # The csv module does not quote a lone carriage return, which its readers take for a line end.
        self._special = re.compile(f'["\r\n{delimiter}]')
        self._line([*columns, *metadata])

    def add(self, record: Record) -> None:
        """Write a line."""
        self._line([spell(column, record.get(column)) for column in self._columns] + self._constants)

    def close(self, extra: Mapping[str, Iterable[Record]]) -> None:
        """Do nothing, because every record has been written."""

    def _line(self, cells: Iterable[str]) -> None:
        line = self._delimiter.join(map(self._quoted, cells)) + "\n"
        self._write(line.encode("utf-8", "surrogateescape"))

    def _quoted(self, cell: str) -> str:
        if self._special.search(cell):
            return '"' + cell.replace('"', '""') + '"'
        return cell


class JsonLinesRowWriter:
    """Write one object per line, with the metadata in each."""

    def __init__(self, write: Write, metadata: Record) -> None:
        self._write = write
        self._metadata = metadata

    def add(self, record: Record) -> None:
        """Write a line."""
        self._write(json_line({**round_record(record), **self._metadata}))

    def close(self, extra: Mapping[str, Iterable[Record]]) -> None:
        """Do nothing, because every record has been written."""


class JsonRowWriter:
    """Write one object with the metadata, the list `rows`, and lists of extra records."""

    def __init__(self, write: Write, metadata: Record) -> None:
        self._write = write
        self._before = b"\n"
        opening = json_line(metadata).removesuffix(b"}\n")
        self._write(opening + b', "rows": [')

    def add(self, record: Record) -> None:
        """Write one element of `rows` on a separate line."""
        self._write(self._before + json_line(round_record(record)).rstrip(b"\n"))
        self._before = b",\n"

    def close(self, extra: Mapping[str, Iterable[Record]]) -> None:
        """Write the extra lists and close the object."""
        lists = {name: [round_record(record) for record in records] for name, records in extra.items()}
        self._write(b"\n]")
        for name, records in lists.items():
            self._write(f", {json_text(name)}: {json_text(records)}".encode())
        self._write(b"}\n")
