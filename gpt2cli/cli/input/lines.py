"""Lines of files and standard input, as soon as they arrive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader

from gpt2cli.cli.input.text import open_source, source_name
from gpt2cli.errors import InputError

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
        InputError: a source cannot be read, or a line is not UTF-8.
    """
    for source in sources:
        number = 1
        try:
            with open_source(source) as file:
                for block in _blocks(file):
                    yield [_line(data, source, number + index) for index, data in enumerate(block)]
                    number += len(block)
        except OSError as error:
            raise InputError(f"{source_name(source)}: {error.strerror}.") from error


def _blocks(file: BufferedReader) -> Iterator[list[bytes]]:
    rest = b""
    # Unlike read, read1 returns what a pipe has so far, so that a slow writer's lines are not held back.
    while data := file.read1(BLOCK_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        if lines:
            yield [line + b"\n" for line in lines]
    if rest:
        yield [rest]


def _line(data: bytes, source: str, number: int) -> Line:
    text = data[:-2] if data.endswith(b"\r\n") else data.removesuffix(b"\n")
    try:
        return Line(data, text.decode("utf-8"), source, number)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source_name(source)}, line {number}: the byte 0x{data[error.start]:02x} is not valid UTF-8.",
            "Convert the text with iconv.",
        ) from error
