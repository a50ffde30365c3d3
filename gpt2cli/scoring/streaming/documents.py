"""Lines of a text that comes in parts, and what lines of <|endoftext|> separate."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.text.reading.limits import Held

_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def split_lines(parts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each line and its end."""
    held = Held("a line")
    for part in parts:
        for begun in lines_of(part):
            held.add(begun)
            if begun.endswith("\n"):
                line = held.take()
                yield without_line_end(line), line[len(without_line_end(line)) :]
    yield held.take(), ""


def separated(lines: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield each text that lines of <|endoftext|> separate, and the line."""
    held = Held("a document")
    for line, end in lines:
        if line == END_OF_TEXT:
            yield held.take(), line + end
        else:
            held.add(line + end)
    yield held.take(), ""


def lines_of(content: str) -> Iterator[str]:
    """Yield the lines with their ends, LF or CR LF."""
    for line in _LINE.finditer(content):
        yield line[0]


def without_line_end(line: str) -> str:
    """Return a line without its end, LF or CR LF."""
    return line[:-2] if line.endswith("\r\n") else line.removesuffix("\n")
