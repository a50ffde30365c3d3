"""A text that is too long to hold, in parts."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from gpt2cli.scoring.scored_text import Size, Text
from gpt2cli.text.reading.newlines import CRLF, Newlines, with_lf

# A whole text, or the parts of a long one, which can be read once.
Content: TypeAlias = str | Iterable[str]


class StreamedText(Text):
    """A text in parts, of which only the size and the places of CR LF are kept."""

    is_streamed = True

    def __init__(self, parts: Iterable[str], newlines: Newlines | None = None) -> None:
        places = array("Q")
        super().__init__("", crlf=places)
        object.__setattr__(self, "_parts", _with_lf(parts, places) if newlines == "lf" else iter(parts))
        object.__setattr__(self, "_size", Size())

    def parts(self) -> Iterator[str]:
        """Yield the content in parts, once."""
        for part in self._parts:
            object.__setattr__(self, "_size", self._size.plus(part))
            yield part

    def size(self) -> Size:
        """Return the size of the content, after reading what is left of it."""
        for _ in self.parts():
            pass
        return self._size

    _parts: Iterator[str]
    _size: Size


def _with_lf(parts: Iterable[str], places: array[int]) -> Iterator[str]:
    """Yield parts with each CR LF replaced by LF, and add the places of these LF."""
    position, held = 0, ""
    for part in parts:
        text = held + part
        held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix(held)
        lines = text.split(CRLF)
        for line in lines[:-1]:
            position += len(line)
            places.append(position)
            position += 1
        position += len(lines[-1])
        yield with_lf(text)
    yield held
