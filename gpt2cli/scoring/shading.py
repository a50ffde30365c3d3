"""Text shaded by surprisal: which part has which colour, and how parts fall into lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from gpt2cli.text.cells import cell_width

Color = tuple[int, int, int]
# Black text can be read on each of them.
PALETTE: tuple[Color, ...] = ((255, 255, 255), (255, 222, 150), (250, 160, 90), (238, 96, 72))
# Beyond this, in bits, surprises look alike.
FULL_SHADE = 20.0
TAB = "    "


class Shaded(NamedTuple):
    """Say how surprising the characters from start to end are, in bits, and what to tell of them."""

    start: int
    end: int
    bits: float | None
    note: str


@dataclass(frozen=True)
class Part:
    """Hold a piece of text that is shaded alike; None where it has no surprisal of its own."""

    text: str
    bits: float | None = None
    note: str = ""


class Placed(NamedTuple):
    """Put a part at a distance from the beginning of its line."""

    part: Part
    position: float
    width: float


def shade(bits: float) -> Color:
    """Return the background of a surprisal."""
    scaled = min(max(bits / FULL_SHADE, 0.0), 1.0) * (len(PALETTE) - 1)
    below = min(int(scaled), len(PALETTE) - 2)
    rest = scaled - below
    low, high = PALETTE[below], PALETTE[below + 1]
    red, green, blue = (round(a + (b - a) * rest) for a, b in zip(low, high, strict=True))
    return red, green, blue


def parts_of(content: str, stretches: Iterable[Shaded]) -> Iterator[Part]:
    """Yield parts that join to the whole content; stretches come in order and may share characters."""
    position = 0
    for stretch in stretches:
        if position < stretch.start:
            yield Part(content[position : stretch.start])
        start = max(position, stretch.start)
        # The second half of a split character has nothing left to show.
        if start < stretch.end:
            yield Part(content[start : stretch.end], stretch.bits, stretch.note)
        position = max(position, stretch.end)
    if position < len(content):
        yield Part(content[position:])


def lines_of(
    parts: Iterable[Part], width: float, measure: Callable[[str], float] = cell_width
) -> Iterator[list[Placed]]:
    """Yield lines of at most `width`, broken at line ends, before white space, or within what is too long."""
    line: list[Placed] = []
    position = 0.0
    for word in _words(parts):
        if word is None:
            yield line
            line, position = [], 0.0
            continue
        needed = sum(measure(part.text) for part in word)
        if line and position + needed > width:
            yield line
            line, position = [], 0.0
        for part in _fitting(word, width, measure):
            taken = measure(part.text)
            if line and position + taken > width:
                yield line
                line, position = [], 0.0
            line.append(Placed(part, position, taken))
            position += taken
    if line:
        yield line


def _words(parts: Iterable[Part]) -> Iterator[Sequence[Part] | None]:
    """Yield what may not be broken, and None for each line end."""
    word: list[Part] = []
    for part in parts:
        if word and part.text[:1].isspace():
            yield word
            word = []
        first, *rest = part.text.expandtabs(len(TAB)).replace("\r\n", "\n").split("\n")
        if first:
            word.append(replace(part, text=first))
        for text in rest:
            if word:
                yield word
            yield None
            word = [replace(part, text=text)] if text else []
    if word:
        yield word


def _fitting(word: Iterable[Part], width: float, measure: Callable[[str], float]) -> Iterator[Part]:
    for part in word:
        if measure(part.text) <= width:
            yield part
        else:
            yield from (replace(part, text=character) for character in part.text)
