"""Tables with names for their columns: CSV, TSV and JSON Lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from gpt2cli.errors import InputError, shown
from gpt2cli.text.reading.limits import MOST_HELD

TableKind = Literal["csv", "tsv", "jsonl"]
KINDS: dict[str, TableKind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
LONGEST_QUOTED = 30


@dataclass(frozen=True)
class Table:
    """The names of columns, and rows with a value for each; `name` is for messages."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]

    def require(self, column: str) -> None:
        """Check that there is a column.

        Raises:
            InputError: there is none of this name.
        """
        if column not in self.columns:
            known = ", ".join(repr(cell[:LONGEST_QUOTED]) for cell in self.columns[:6])
            raise InputError(f"{self.name} has no column {column!r}, only {known or 'nothing'}.")

    def texts(self, column: str) -> Iterator[str]:
        """Yield the values of a column, which must be text.

        Raises:
            InputError: there is no such column, or a value is no text.
        """
        self.require(column)
        for number, row in enumerate(self.rows, 1):
            value = row[column]
            if not isinstance(value, str):
                raise InputError(f"{self.name}, row {number}: {column!r} is no text.")
            yield value


def read_table(text: str, name: str) -> Table:
    """Return a table, of the kind that the extension of its name says, or else its first line.

    Raises:
        InputError: it has no header, a row does not fit it, or a line is not a JSON object.
    """
    kind = KINDS.get(Path(name).suffix.lower()) or _kind_of(text)
    return (
        _json_lines(text, name) if kind == "jsonl" else _delimited(text, "\t" if kind == "tsv" else ",", name)
    )


def _kind_of(text: str) -> TableKind:
    first = text.lstrip().split("\n", 1)[0]
    if first.startswith("{"):
        return "jsonl"
    return "tsv" if "\t" in first else "csv"


def _delimited(text: str, delimiter: str, name: str) -> Table:
    # The default limit is a few pages.
    csv.field_size_limit(MOST_HELD)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Mapping[str, Any]] = []
    header: list[str] = []
    try:
        for cells in reader:
            if not cells:
                continue
            if not header:
                header = cells
            elif len(cells) != len(header):
                raise InputError(
                    f"{name}, line {reader.line_num}: {len(cells)} cells under a header of {len(header)}.",
                    "Quote texts that contain the delimiter.",
                )
            else:
                rows.append(dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: {error}.", "Quote texts as CSV does.") from error
    if twice := [cell for cell in header if header.count(cell) > 1]:
        raise InputError(f"{name} has two columns {shown(twice[0])}.", "Give each a name of its own.")
    return Table(name, header, rows)


def _json_lines(text: str, name: str) -> Table:
    rows = []
    # Not splitlines, which also cuts at characters that JSON strings may hold.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}, line {number}: this is not JSON.") from error
        if not isinstance(row, dict):
            raise InputError(f"{name}, line {number}: this is no JSON object.")
        rows.append(row)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return Table(name, columns, [{column: row.get(column) for column in columns} for row in rows])
