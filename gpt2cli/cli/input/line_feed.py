"""Lines of a file or of standard input, one by one, as soon as they arrive."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from gpt2cli.cli.input.text import STDIN, STDIN_CLOSED, source_name
from gpt2cli.errors import InputError, UsageError
from gpt2cli.serving.lines import Line
from gpt2cli.text.reading.chunks import stream_chunks, without_bom
from gpt2cli.text.reading.compression import (
    COMPRESSED_BLOCK_BYTES,
    decompressed,
    is_compressed,
    without_compression,
)
from gpt2cli.text.reading.limits import MOST_HELD
from gpt2cli.text.streaming.text_blocks import decode_utf8, read_chunks

BLOCK_BYTES = 1 << 16
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON_SUFFIXES = (".jsonl", ".ndjson")

Wanted = Callable[[int], bool]


class ByteSource:
    """A file or standard input, opened.

    Raises:
        UsageError: standard input is closed.
        InputError: the file cannot be opened.
    """

    def __init__(self, source: str) -> None:
        self.name = source_name(source)
        self.suffix = Path(without_compression(source)).suffix.lower()
        if source == STDIN and sys.stdin is None:
            raise UsageError(STDIN_CLOSED)
        try:
            stream = sys.stdin.buffer if source == STDIN else Path(source).open("rb")  # noqa: SIM115
        except OSError as error:
            raise InputError(f"{self.name}: {error.strerror}.") from error
        self._stream = cast("BufferedReader", stream)
        self._descriptor = stream.fileno()
        status = os.fstat(self._descriptor)
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else None
        # How many bytes the lines have, if that is known.
        self.total = None if is_compressed(source) else self.size
        self._chunks = self._open_chunks(source)
        self._begun = b""

    @property
    def is_ready(self) -> bool:
        """Whether the next bytes are there, or the end."""
        return bool(self._begun or self.size is not None or select.select([self._descriptor], [], [], 0)[0])

    def digest(self, size: int | None = None) -> dict[str, Any]:
        """Return what tells a file from others: its bytes, or the first `size`; of a pipe, the first line."""
        import hashlib

        found, place = hashlib.sha256(), 0
        if self.size is None:
            return {"first_line": hashlib.sha256(self.first_line()).hexdigest()}
        size = self.size if size is None else min(size, self.size)
        while place < size and (block := os.pread(self._descriptor, min(1 << 20, size - place), place)):
            found.update(block)
            place += len(block)
        return {"bytes": place, "sha256": found.hexdigest()}

    def first_line(self) -> bytes:
        """Return the first line, as far as it can be held; it is waited for, and read all the same."""
        begun = bytearray()
        while len(begun) <= MOST_HELD and (chunk := self.read()):
            begun += chunk
            if b"\n" in chunk:
                break
        self._begun = bytes(begun)
        return self._begun.partition(b"\n")[0]

    def read(self) -> bytes:
        """Return the next bytes, decompressed and without a byte order mark; none at the end.

        Raises:
            InputError: they cannot be read or decompressed.
        """
        begun, self._begun = self._begun, b""
        return begun or next(self._chunks, b"")

    def _open_chunks(self, source: str) -> Iterator[bytes]:
        if is_compressed(source):
            checked = self._checked(read_chunks(self._stream, COMPRESSED_BLOCK_BYTES))
            return without_bom(decompressed(checked, source))
        return self._checked(stream_chunks(self._stream, BLOCK_BYTES))

    def _checked(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from chunks
        except OSError as error:
            raise InputError(f"{self.name}: {error.strerror}.") from error


class JsonLineFeed:
    """The lines of a source that are wanted and not blank, which count all the same."""

    def __init__(self, source: ByteSource, wanted: Wanted) -> None:
        self.ended = False
        self.bytes_taken = 0
        self._source = source
        self._wanted = wanted
        self._lines: deque[bytes] = deque()
        self._rest = bytearray()
        self._number = 0
        self._is_too_long = False

    def take(self, wait: bool) -> Line | None:
        """Return the next line; None at the end, or if none is there yet and it is not to wait.

        Raises:
            InputError: the source cannot be read.
        """
        while True:
            while self._lines:
                data = self._lines.popleft()
                self._number += 1
                self.bytes_taken += len(data) + 1
                too_long, self._is_too_long = self._is_too_long, False
                if not self._wanted(self._number):
                    continue
                if too_long:
                    return Line(self._number, b"", f"The line has more than {MOST_HELD:,} bytes.")
                if not data.isspace() and data:
                    return Line(self._number, data)
            if self.ended or not (wait or self._source.is_ready):
                return None
            self._read()

    def _read(self) -> None:
        chunk = self._source.read()
        if not chunk:
            self.ended = True
            if self._rest or self._is_too_long:
                self._lines.append(bytes(self._rest))
            return
        first, *others = chunk.split(b"\n")
        self._rest += first
        if len(self._rest) > MOST_HELD:
            self._is_too_long = True
            self._rest.clear()
        if others:
            *whole, rest = others
            self._lines += [bytes(self._rest), *whole]
            self._rest = bytearray(rest)


class TableFeed:
    """The rows of a CSV or TSV table that are wanted, as objects in JSON.

    Raises:
        UsageError: the table has no column `field`.
        InputError: it cannot be read.
    """

    def __init__(self, source: ByteSource, delimiter: str, field: str, wanted: Wanted) -> None:
        from gpt2cli.serving.tables import table_lines

        self.ended = False
        self.bytes_taken = 0
        self._source = source
        self._wanted = wanted
        self._buffered = 0
        self._lines = table_lines(self._text(), delimiter, field, source.name)

    def take(self, wait: bool) -> Line | None:
        """Return the next row; None at the end, or if none is there yet and it is not to wait.

        Raises:
            InputError: the source cannot be read, or quotation marks do not match.
        """
        while not self.ended and (wait or self._buffered or self._source.is_ready):
            line = next(self._lines, None)
            if line is None:
                self.ended = True
            elif self._wanted(line.number):
                return line
        return None

    def _text(self) -> Iterator[str]:
        rest = bytearray()
        while chunk := self._source.read():
            first, *others = chunk.split(b"\n")
            rest += first
            if others:
                lines = [bytes(rest), *others[:-1]]
                rest = bytearray(others[-1])
                self._buffered = len(lines)
                for line in lines:
                    self._buffered -= 1
                    self.bytes_taken += len(line) + 1
                    yield decode_utf8(line, self._source.name) + "\n"
            if len(rest) > MOST_HELD:
                raise InputError(f"{self._source.name} has a line of more than {MOST_HELD:,} bytes.")
        if rest:
            yield decode_utf8(bytes(rest), self._source.name)


def open_feed(source: ByteSource, field: str | None, wanted: Wanted) -> JsonLineFeed | TableFeed:
    """Return the lines of a source that are wanted, by their numbers.

    With `field`, a source may also be a table: its name says so, or else its first character.

    Raises:
        UsageError, InputError: as `TableFeed` does.
    """
    delimiter = None if field is None else _delimiter(source)
    if field is None or delimiter is None:
        return JsonLineFeed(source, wanted)
    return TableFeed(source, delimiter, field, wanted)


def _delimiter(source: ByteSource) -> str | None:
    if source.suffix in JSON_SUFFIXES:
        return None
    if source.suffix in DELIMITERS:
        return DELIMITERS[source.suffix]
    first = source.first_line()
    if first.lstrip().startswith(b"{"):
        return None
    return "\t" if b"\t" in first else ","
