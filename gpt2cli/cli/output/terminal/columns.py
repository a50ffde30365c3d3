"""Fitting a table to a terminal: the columns to keep, and rows stacked as names and values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from gpt2cli.text.cells import cell_width, shorten

GAP = "  "
# Cells of stacked rows are aligned if this many columns are left for them.
LEAST_ALIGNED = 8
# Groups of columns in the order of dropping. Names in capitals are from lists of files and models.
LEAST_NEEDED = (
    *(("byte_start", "byte_end"), ("start", "end"), ("id",), ("text_1", "text_2")),
    *(("probability",), ("words", "bytes"), ("word_perplexity",), ("tokens",), ("bits_per_byte",)),
    *(("index", "line"), ("surprisal_1", "surprisal_2"), ("rank",), ("mean_surprisal",), ("entropy",)),
    *(("surprisal_corrected",), ("correct",), ("region",)),
    *(("REVISION",), ("CHECK",), ("KIND",)),
)


def columns_that_fit(names: Sequence[str], widths: Sequence[int], room: int) -> list[int] | None:
    """Return the indices of the columns to keep, or None if not even the essential ones fit."""
    kept = list(range(len(names)))
    for group in ((), *LEAST_NEEDED):
        kept = [place for place in kept if names[place] not in group]
        if sum(widths[place] for place in kept) + len(GAP) * (len(kept) - 1) <= room:
            return kept
    return None


def comment_lines(words: Iterable[str], room: int) -> Iterator[str]:
    """Yield words as lines that begin with # and fit the room."""
    line = "#"
    for word in words:
        shown = shorten(word, room - 2)
        if line != "#" and cell_width(line) + 1 + cell_width(shown) > room:
            yield line
            line = "#"
        line = f"{line} {shown}"
    yield line


def note_left_out(names: Sequence[str], kept: Collection[int], room: int) -> Iterator[str]:
    """Yield lines that name the dropped columns, if any."""
    left_out = [name for place, name in enumerate(names) if place not in kept]
    if left_out:
        words = f"not shown in {room} columns: {', '.join(left_out)}".split()
        yield from comment_lines(words, room)


def stacked_row(names: Sequence[str], cells: Sequence[str], room: int) -> Iterator[str]:
    """Yield each name and its cell as one line, or as two if they do not fit."""
    longest = max(map(cell_width, names))
    aligned = longest + len(GAP) + LEAST_ALIGNED <= room
    for name, cell in zip(names, cells, strict=True):
        padding = " " * (longest - cell_width(name) + len(GAP)) if aligned else " "
        line = (name + padding + cell).rstrip()
        if cell_width(line) <= room:
            yield line
        else:
            yield shorten(name, room)
            yield GAP + shorten(cell, room - len(GAP))
