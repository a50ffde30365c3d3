"""A picture on a grid as lines of a terminal: shaded, or with bars and blocks where colors are off."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from gpt2cli.inspection.pictures.grid import Bitmap, Box, Picture, box_color, ink_colors, shade_of
from gpt2cli.scoring.pictures.canvas import Color
from gpt2cli.text.cells import cell_width

# From nothing to all: behind a box's text, and for a value of a bitmap.
BARS = " ▁▂▃▄▅▆▇█"
BLOCKS = " ░▒▓█"
BLACK, PLAIN = "\x1b[38;5;16m", "\x1b[0m"


class _Piece(NamedTuple):
    column: int
    text: str


def grid_lines(picture: Picture, colored: bool) -> Iterator[str]:
    """Yield the lines of a picture, its title last."""
    lines: defaultdict[int, list[_Piece]] = defaultdict(list)
    for box in picture.boxes:
        lines[int(box.line)].append(_Piece(round(box.column), _box(box, colored)))
    for bitmap in picture.bitmaps:
        for number, text in enumerate(_bitmap(bitmap, colored)):
            lines[int(bitmap.line) + number].append(_Piece(round(bitmap.column), text))
    for number in range(max(lines, default=-1) + 1):
        yield _joined(sorted(lines[number]))
    yield ""
    yield from picture.title_lines()


def _joined(pieces: list[_Piece]) -> str:
    line, position = "", 0
    for piece in pieces:
        line += " " * (piece.column - position) + piece.text
        position = max(position, piece.column) + _width(piece.text)
    return line.rstrip()


def _box(box: Box, colored: bool) -> str:
    text, width = box.shown, round(box.width)
    if box.level is None or (not colored and cell_width(text) >= width):
        return text
    if colored:
        return _shaded(text + " " * (width - cell_width(text)), box_color(box.level))
    bar = BARS[round(min(abs(box.level), 1.0) * (len(BARS) - 1))]
    return text + " " * (width - 1 - cell_width(text)) + bar


def _bitmap(bitmap: Bitmap, colored: bool) -> Iterator[str]:
    rows, columns = max(int(bitmap.height), 1), max(round(bitmap.width), 1)
    values = bitmap.stretched(rows, columns)
    if colored:
        for line in ink_colors(values).tolist():
            yield "".join(_shaded(" ", (red, green, blue)) for red, green, blue in line)
        return
    for shades in shade_of(values).tolist():
        yield "".join(BLOCKS[round(shade * (len(BLOCKS) - 1))] for shade in shades)


def _shaded(text: str, color: Color) -> str:
    red, green, blue = color
    return f"{BLACK}\x1b[48;2;{red};{green};{blue}m{text}{PLAIN}"


def _width(text: str) -> int:
    return cell_width(
        "".join(part.partition("m")[2] if number else part for number, part in enumerate(text.split("\x1b[")))
    )
