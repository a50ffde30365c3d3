"""Tables on stdout: aligned on a terminal, tab-separated in a pipe."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from gpt2cli.cli.output.streams import stdout_is_terminal, terminal_columns, wants_color, write_stdout
from gpt2cli.cli.output.terminal.columns import GAP, columns_that_fit, note_left_out, stacked_row
from gpt2cli.text.cells import cell_width, shorten
from gpt2cli.text.printable import escaped

BOLD, PLAIN = "\x1b[1m", "\x1b[0m"
# The least width to which a path is shortened.
LEAST_PATH_WIDTH = 16

Lines = Sequence[Sequence[str]]


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], words: int | None = None) -> None:
    """Print rows under a header; columns after the first `words` contain numbers.

    On a terminal, paths are shortened, columns dropped or cells stacked so that every line fits.

    Raises:
        InputError: stdout is closed.
        OSError: writing failed.
    """
    lines = [header, *rows]
    if stdout_is_terminal():
        cells = [list(map(escaped, line)) for line in lines]
        shown = "".join(f"{line}\n" for line in _terminal_lines(cells, words or len(header)))
    else:
        shown = "".join("\t".join(line) + "\n" for line in lines)
    write_stdout(shown.encode("utf-8", "surrogateescape"))


def _terminal_lines(lines: Lines, words: int) -> Iterator[str]:
    room = terminal_columns()
    widths = [max(map(cell_width, column)) for column in zip(*lines, strict=True)]
    least = [
        min(width, LEAST_PATH_WIDTH) if _is_path(lines, place) else width
        for place, width in enumerate(widths)
    ]
    kept = columns_that_fit(lines[0], least, room)
    if kept is None:
        yield from _stacked(lines, room)
        return
    yield from note_left_out(lines[0], kept, room)
    fitted = _shrink([widths[place] for place in kept], [least[place] for place in kept], room)
    for line in lines:
        cells = [shorten(line[place], width) for place, width in zip(kept, fitted, strict=True)]
        yield _style(line is lines[0], _aligned(cells, fitted, sum(place < words for place in kept)))


def _is_path(lines: Lines, place: int) -> bool:
    return any(os.sep in line[place] for line in lines)


def _shrink(widths: list[int], least: Sequence[int], room: int) -> list[int]:
    """Return widths that fit, shrinking the widest shrinkable column first."""
    while sum(widths) + len(GAP) * (len(widths) - 1) > room:
        place = max(range(len(widths)), key=lambda index: (widths[index] > least[index], widths[index]))
        widths[place] -= 1
    return widths


def _aligned(cells: Sequence[str], widths: Sequence[int], words: int) -> str:
    padded = []
    for place, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        padding = " " * (width - cell_width(cell))
        padded.append(cell + padding if place < words else padding + cell)
    return GAP.join(padded).rstrip()


def _stacked(lines: Lines, room: int) -> Iterator[str]:
    header, *rows = lines
    if len(header) == 2:
        # Each row is already a name and its value.
        names, values = zip(*lines, strict=True)
        yield from stacked_row(names, values, room)
        return
    for row in rows:
        if row is not rows[0]:
            yield ""
        yield from stacked_row(header, row, room)


def _style(is_header: bool, line: str) -> str:
    return f"{BOLD}{line}{PLAIN}" if is_header and wants_color("auto") else line
