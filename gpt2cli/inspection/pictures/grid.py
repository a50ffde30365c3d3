"""Pictures on a grid of fixed-width characters, which terminals and files draw alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.scoring.pictures.canvas import PAPER, Color
from gpt2cli.scoring.pictures.shading import PALETTE
from gpt2cli.text.cells import cell_width, crop
from gpt2cli.text.printable import escaped

Values: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

# The columns of a picture in a file: its text is still 6 points high where it is printed 8 cm wide.
COLUMNS = 60
# Black text is readable on all of these.
BELOW_ZERO: tuple[Color, ...] = (PAPER, (190, 218, 245), (130, 180, 235))
# Of bitmaps, which have no text.
INKS: tuple[Color, ...] = (PAPER, (158, 202, 225), (49, 130, 189), (8, 48, 107))


@dataclass(frozen=True)
class Box:
    """A cell of the grid with text; `level` from -1 to 1 is its shade, None for none.

    The note is shown on hovering, where a format can.
    """

    column: float
    line: float
    width: float
    text: str = ""
    level: float | None = None
    note: str = ""

    @property
    def shown(self) -> str:
        """The text without unprintable characters, as much of it as fits."""
        return crop(escaped(self.text), max(int(self.width), 1))


@dataclass(frozen=True, eq=False)
class Bitmap:
    """An area of the grid that is filled with values (rows, columns) from 0 to 1."""

    column: float
    line: float
    width: float
    height: float
    values: Values
    note: str = ""

    def pooled(self, rows: int, columns: int) -> Values:
        """Return the highest value in each of at most this many rows and columns."""
        return _pooled(_pooled(self.values, rows).T, columns).T

    def stretched(self, rows: int, columns: int) -> Values:
        """Return exactly this many rows and columns, values repeated where there are fewer."""
        pooled = self.pooled(rows, columns)
        height, width = pooled.shape
        return pooled[np.ix_(np.arange(rows) * height // rows, np.arange(columns) * width // columns)]


@dataclass(frozen=True, eq=False)
class Picture:
    """Boxes and bitmaps on a grid of columns and lines, and a title that makes it comparable."""

    title: str
    columns: int
    lines: float
    boxes: Sequence[Box] = ()
    bitmaps: Sequence[Bitmap] = ()

    def title_lines(self) -> Iterator[str]:
        """Yield the title in lines of the picture's width."""
        line = ""
        for word in escaped(self.title).split():
            shown = crop(word, self.columns)
            if line and cell_width(line) + 1 + cell_width(shown) > self.columns:
                yield line
                line = ""
            line = f"{line} {shown}".lstrip()
        yield line


def box_color(level: float) -> Color:
    """Return the background of a box with a level from -1 to 1; 0 is white."""
    return _between(PALETTE if level >= 0 else BELOW_ZERO, abs(level))


def ink_colors(values: Values) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the colors (rows, columns, 3) of a bitmap's values.

    They grow with the square root, because much of what attention does is small.
    """
    table = np.array([_between(INKS, step / 255) for step in range(256)], np.uint8)
    colors: np.ndarray[Any, np.dtype[np.uint8]] = table[(shade_of(values) * 255).astype(np.int64)]
    return colors


def shade_of(values: Values) -> Values:
    """Return how dark values from 0 to 1 are drawn, from 0 to 1."""
    shades: Values = np.sqrt(np.clip(values, 0.0, 1.0))
    return shades


def _between(palette: Sequence[Color], share: float) -> Color:
    scaled = min(max(share, 0.0), 1.0) * (len(palette) - 1)
    below = min(int(scaled), len(palette) - 2)
    rest = scaled - below
    pairs = zip(palette[below], palette[below + 1], strict=True)
    red, green, blue = (round(low + (high - low) * rest) for low, high in pairs)
    return red, green, blue


def _pooled(values: Values, count: int) -> Values:
    """Return the highest values of at most `count` runs of rows."""
    if len(values) <= count:
        return values
    starts = np.arange(count) * len(values) // count
    pooled: Values = np.maximum.reduceat(values, starts, axis=0)
    return pooled
