"""Rows of CSV and TSV tables, as the lines of JSON that stand for them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator

from gpt2cli.errors import InputError, UsageError, shown
from gpt2cli.serving.lines import Line
from gpt2cli.text.reading.limits import MOST_HELD


def table_lines(text: Iterable[str], delimiter: str, field: str, name: str) -> Iterator[Line]:
    """Yield each row of a table with a header as an object; rows count from 1, and empty ones do not count.

    Messages call the table `name`. The first row is read at once.

    Raises:
        UsageError: there is no column `field`, or two columns have one name.
        InputError: quotation marks do not match.
    """
    # The default limit is a few pages.
    csv.field_size_limit(MOST_HELD)
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    header = next(_rows(rows, name), [])
    if field not in header:
        known = ", ".join(repr(cell[:30]) for cell in header[:6])
        raise UsageError(f"{name} has no column {field!r}, only {known}.", "Name one in `field`.")
    if twice := [cell for cell in header if header.count(cell) > 1]:
        raise UsageError(f"{name} has two columns {shown(twice[0])}.", "Give each a name of its own.")
    return _lines(_rows(rows, name), header)


def _lines(rows: Iterable[list[str]], header: list[str]) -> Iterator[Line]:
    for number, row in enumerate(rows, 1):
        if len(row) == len(header):
            yield Line(number, json.dumps(dict(zip(header, row, strict=True))).encode())
        else:
            problem = f"The row has {len(row)} cells under a header of {len(header)}."
            yield Line(number, b"", f"{problem} Quote texts that contain the delimiter.")


def _rows(rows: Iterator[list[str]], name: str) -> Iterator[list[str]]:
    try:
        # A line without a cell.
        yield from filter(None, rows)
    except csv.Error as error:
        number = getattr(rows, "line_num", 0)
        raise InputError(f"{name}, line {number}: {error}.", "Quote texts as CSV does.") from error
