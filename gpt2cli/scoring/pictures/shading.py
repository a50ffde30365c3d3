"""Shading text by surprisal: the color of each part, and its place in a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from gpt2cli.scoring.pictures.canvas import Color
from gpt2cli.text.cells import cell_width, may_break
from gpt2cli.text.printable import replaced

# Black text is readable on all of them.
PALETTE: tuple[Color, ...] = ((255, 255, 255), (255, 222, 150), (250, 160, 90), (238, 96, 72))
# In bits; all higher surprisals have the same shade.
FULL_SHADE = 20.0
LEGEND_STEPS = 5
TAB = "    "
BLANKS = " \t"
# Newlines, white space, runs of narrow characters, and single wide characters.
FRAGMENTS = re.compile(r"\n|[ \t]+|[^ \t\n\u1100-\U0010ffff]+|[^ \t\n]")


class Shaded(NamedTuple):
    """The surprisal in bits of the characters from start to end, and a note about them."""

    start: int
    end: int
    bits: float | None
    note: str


@dataclass(frozen=True)
class Part:
    """A piece of text with one shade; `bits` is None if it has no surprisal."""

    text: str
    bits: float | None = None
    note: str = ""


class Placed(NamedTuple):
    """A part at its distance from the start of the line."""

    part: Part
    position: float
    width: float


def shade(bits: float) -> Color:
    """Return the background color for a surprisal in bits."""
    scaled = min(max(bits / FULL_SHADE, 0.0), 1.0) * (len(PALETTE) - 1)
    below = min(int(scaled), len(PALETTE) - 2)
    rest = scaled - below
    low, high = PALETTE[below], PALETTE[below + 1]
    red, green, blue = (round(a + (b - a) * rest) for a, b in zip(low, high, strict=True))
    return red, green, blue


def legend() -> list[tuple[float, str]]:
    """Return evenly spaced surprisals with labels, from zero to the full shade."""
    marks = [FULL_SHADE * step / (LEGEND_STEPS - 1) for step in range(LEGEND_STEPS)]
    return [(bits, f"{bits:g}" if bits < FULL_SHADE else f"{bits:g}+ bits") for bits in marks]


def parts_of(content: str, stretches: Iterable[Shaded]) -> Iterator[Part]:
    """Yield parts that add up to the content; stretches are in order and may share characters."""
    position = 0
    for stretch in stretches:
        if position < stretch.start:
            yield Part(content[position : stretch.start])
        start = max(position, stretch.start)
        # The second half of a split character has already been shown.
        if start < stretch.end:
            yield Part(content[start : stretch.end], stretch.bits, stretch.note)
        position = max(position, stretch.end)
    if position < len(content):
        yield Part(content[position:])


def printable_parts(parts: Iterable[Part]) -> Iterator[Part]:
    """Yield parts without unprintable characters, CRLF turned into LF even across parts."""
    before: Part | None = None
    for part in parts:
        if before:
            yield replace(before, text=_printable(before.text, part.text[:1]))
        before = part
    if before:
        yield replace(before, text=_printable(before.text, ""))


def lines_of(
    parts: Iterable[Part], width: float, measure: Callable[[str], float] = cell_width
) -> Iterator[list[Placed]]:
    """Yield lines of at most `width`, broken at newlines, at white space, or within long words.

    White space at a line break is dropped.
    """
    line = _Line(width, measure)
    for word in _words(parts):
        if word is None:
            yield line.take()
            continue
        gap = word.gap
        if not line.has_room(gap + word.pieces):
            if line.placed:
                yield line.take()
            gap = []
        for piece in gap + word.pieces:
            for fitting in line.fitting(piece):
                if line.placed and not line.has_room([fitting]):
                    yield line.take()
                line.add(fitting)
    if line.placed:
        yield line.take()


class _Piece(NamedTuple):
    """A part or a section of it, with the number of the part."""

    number: int
    part: Part


@dataclass
class _Word:
    """An unbreakable run of pieces and the white space before it."""

    gap: list[_Piece] = field(default_factory=list)
    pieces: list[_Piece] = field(default_factory=list)


class _Line:
    def __init__(self, width: float, measure: Callable[[str], float]) -> None:
        self.placed: list[Placed] = []
        self._width = width
        self._measure = measure
        self._position = 0.0
        self._number = -1

    def has_room(self, pieces: Iterable[_Piece]) -> bool:
        """Return whether pieces fit at the end of the line."""
        return self._position + sum(self._measure(piece.part.text) for piece in pieces) <= self._width

    def add(self, piece: _Piece) -> None:
        """Add a piece, merged with the previous one if they belong to the same part."""
        part, start, taken = piece.part, self._position, self._measure(piece.part.text)
        self._position += taken
        if self.placed and self._number == piece.number:
            before = self.placed.pop()
            part = replace(part, text=before.part.text + part.text)
            start, taken = before.position, before.width + taken
        self._number = piece.number
        self.placed.append(Placed(part, start, taken))

    def fitting(self, piece: _Piece) -> Iterator[_Piece]:
        """Yield a piece, split into characters if it is wider than a line."""
        if self._measure(piece.part.text) <= self._width:
            yield piece
            return
        for character in piece.part.text:
            yield piece._replace(part=replace(piece.part, text=character))

    def take(self) -> list[Placed]:
        """Return the line and begin the next one."""
        placed, self.placed, self._position = self.placed, [], 0.0
        return placed


def _words(parts: Iterable[Part]) -> Iterator[_Word | None]:
    """Yield words, and None for each newline."""
    word = _Word()
    for number, part in enumerate(printable_parts(parts)):
        for text in FRAGMENTS.findall(part.text):
            before = word.pieces[-1].part.text[-1] if word.pieces else ""
            if text == "\n" or (before and (text[0] in BLANKS or may_break(before, text[0]))):
                if word.gap or word.pieces:
                    yield word
                word = _Word()
            if text == "\n":
                yield None
            elif text[0] in BLANKS:
                word.gap.append(_Piece(number, replace(part, text=text.replace("\t", TAB))))
            else:
                word.pieces.append(_Piece(number, replace(part, text=text)))
    if word.gap or word.pieces:
        yield word


def _printable(text: str, following: str) -> str:
    return replaced((text + following).replace("\r\n", "\n").removesuffix(following))
