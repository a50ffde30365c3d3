"""Lines of files and standard input, as soon as they arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpt2cli.cli.input.text import source_chunks, source_name
from gpt2cli.errors import InputError
from gpt2cli.text.reading.limits import MOST_HELD

if TYPE_CHECKING:
    from gpt2cli.text.reading.notes import TextNotes

BLOCK_BYTES = 1 << 16


@dataclass(frozen=True, eq=False)
class Line:
    """A line of a source: its bytes with the line ending, its text without, and its number from 1."""

    data: bytes
    text: str
    source: str
    number: int


def line_blocks(sources: Sequence[str]) -> Iterator[list[Line]]:
    """Yield the lines of sources in blocks, as soon as they arrive; `-` is standard input.

    Raises:
        UsageError: standard input is closed.
        InputError: a source cannot be read, or a line is not UTF-8.
    """
    for source in sources:
        number = 1
        for block in _blocks(source_chunks(source, BLOCK_BYTES), source_name(source)):
            yield [_line(data, source, number + index) for index, data in enumerate(block)]
            number += len(block)


def checked_blocks(sources: Sequence[str], notes: TextNotes) -> Iterator[list[Line]]:
    """Yield the lines of sources as `line_blocks` does, after notes on them."""
    for block in line_blocks(sources):
        for line in block:
            notes.check(line.text, source_name(line.source))
        yield block


def _blocks(chunks: Iterable[bytes], name: str) -> Iterator[list[bytes]]:
    # Joined once it is whole, as a long line comes in many chunks.
    begun: list[bytes] = []
    number = 1
    for data in chunks:
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = b"".join([*begun, lines[0]])
            begun.clear()
            number += len(lines)
            yield [line + b"\n" for line in lines]
        begun.append(rest)
        if sum(map(len, begun)) > MOST_HELD:
            raise InputError(f"{name}, line {number}: the line has more than {MOST_HELD:,} bytes.")
    if last := b"".join(begun):
        yield [last]


def _line(data: bytes, source: str, number: int) -> Line:
    text = data[:-2] if data.endswith(b"\r\n") else data.removesuffix(b"\n")
    try:
        return Line(data, text.decode("utf-8"), source, number)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source_name(source)}, line {number}: the byte 0x{data[error.start]:02x} is not valid UTF-8.",
            "Convert the text with iconv.",
        ) from error
