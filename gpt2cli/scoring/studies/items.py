"""The items of a study: texts with the columns that they came with, and a context that is not scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpt2cli.errors import InputError, UsageError, brief, shown
from gpt2cli.scoring.pairs.sentences import Marked, mark_regions
from gpt2cli.text.reading.tables import Table


@dataclass(frozen=True)
class Item:
    """A text to score, what precedes it, and the columns that its rows carry.

    `marked` is the text with the parts of it that are regions; None where these are not asked for. `words`
    are the columns of each word, if words have rows of their own in the table.
    """

    text: str
    context: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    marked: Marked | None = None
    place: str = "the text"
    words: Sequence[Mapping[str, Any]] = ()

    @property
    def before(self) -> str:
        """The context as it stands before the text: with a space behind it if there is no white space."""
        is_apart = not self.context or self.context[-1].isspace() or self.text[:1].isspace()
        return self.context if is_apart else f"{self.context} "


@dataclass(frozen=True, eq=False, repr=False)
class ItemColumns:
    """Which columns of a table hold what.

    `text` is the column of the texts, `context` that of their contexts, if there is one. `span` are the
    columns, or numbers, where the region of a text starts and ends, in characters; otherwise brackets mark
    regions if `regions` are asked for. With `group`, the rows that have the same value there are the words of
    one text.
    """

    text: str
    context: str | None = None
    span: tuple[str, str] | None = None
    regions: bool = False
    group: str | None = None


def items_of(table: Table, columns: ItemColumns, context: str = "") -> Iterator[Item]:
    """Yield the items of a table, each in its own context behind the one that all share.

    Raises:
        InputError: a column is missing, or a value is no text or no place in it.
        UsageError: a bracket has no counterpart.
    """
    if columns.group:
        yield from _grouped(table, columns.text, columns.group, context)
        return
    contexts = table.texts(columns.context) if columns.context else ("" for _ in table.rows)
    rows = zip(table.rows, table.texts(columns.text), contexts, strict=True)
    for number, (row, text, own) in enumerate(rows, 1):
        place = f"{table.name}, row {number}"
        marked = None
        if columns.span:
            marked = Marked(text, (_span(row, columns.span, text, place),), (None,))
        elif columns.regions:
            marked = mark_regions(text, place)
        shared = Item(own, context).before + own if own else context
        yield Item(marked.content if marked else text, shared, row, marked, place)


def _grouped(table: Table, column: str, group: str, context: str) -> Iterator[Item]:
    table.require(group)
    found: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for number, (row, word) in enumerate(zip(table.rows, table.texts(column), strict=True), 1):
        # Words are what ASCII white space separates. Half a surrogate pair is refused with the text.
        data = word.encode("utf-8", "surrogatepass")
        if data.split() != [data]:
            raise InputError(f"{table.name}, row {number}: {shown(word)} is not one word.")
        found.setdefault(str(row[group]), []).append((word, row))
    for value, entries in found.items():
        words, rows = zip(*entries, strict=True)
        yield Item(" ".join(words), context, rows[0], None, f"{group} {brief(value)} of {table.name}", rows)


def marked_item(text: str, context: str, columns: Mapping[str, Any], regions: bool) -> Item:
    """Return an item whose brackets mark regions if these are asked for.

    Raises:
        UsageError: a bracket has no counterpart.
    """
    marked = mark_regions(text, "the text") if regions else None
    return Item(marked.content if marked else text, context, columns, marked)


def parse_span(text: str) -> tuple[str, str]:
    """Return the names of START:END.

    Raises:
        UsageError: it has another form.
    """
    start, separator, end = text.partition(":")
    if not (separator and start and end):
        raise UsageError(f"`span` {text!r} is not START:END.", "Name two columns, or give two numbers.")
    return start, end


def _span(row: Mapping[str, Any], names: tuple[str, str], text: str, place: str) -> tuple[int, int]:
    start, end = (_number(row, name, place) for name in names)
    if not 0 <= start < end <= len(text):
        part = brief(f"{start} to {end}")
        raise InputError(f"{place}: {part} is no part of a text of {len(text):,} characters.")
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())


def _number(row: Mapping[str, Any], name: str, place: str) -> int:
    value = row.get(name, name)
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{place}: {name!r} is {shown(value)}, no number.", "Name a column of numbers."
        ) from None
