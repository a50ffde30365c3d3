"""The output formats of `gpt2 tokenize`, written as ids arrive."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from functools import cache
from typing import IO

from gpt2cli.cli.input.text import source_name
from gpt2cli.cli.output.streams import Write, json_line
from gpt2cli.errors import Error, InputError
from gpt2cli.text.json_text import json_text
from gpt2cli.text.token_files import DecimalText, TokenFile
from gpt2cli.text.tokenizer import Tokenizer

COPIED_BYTES = 1 << 20


class TokenWriter:
    """Write sources in turn: `start`, any number of `add`, `end`; after the last source, `close`."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._source: str | None = None
        self._count = 0

    def start(self, source: str | None) -> None:
        """Begin a source; its name is the user's, or None."""
        self._source = source
        self._count = 0

    def add(self, ids: array[int]) -> None:
        """Write the next ids of the source."""
        self._count += len(ids)

    def end(self, error: Error | None = None) -> None:
        """End the source; with an error, it is incomplete."""

    def close(self) -> None:
        """End the output."""


class IdLines(TokenWriter):
    """Write a line of ids for each source."""

    def __init__(self, write: Write, tokenizer: Tokenizer) -> None:
        super().__init__(write)
        self._decimal = DecimalText(tokenizer.id_limit)

    def add(self, ids: array[int]) -> None:
        if not ids:
            return
        separator = b" " if self._count else b""
        super().add(ids)
        self._write(separator + self._decimal.spell(ids)[:-1])

    def end(self, error: Error | None = None) -> None:
        if self._count or not error:
            self._write(b"\n")


class Counts(TokenWriter):
    """Write counts in the style of wc, with a total for several sources, or as JSON.

    With `spelled`, the name of a file cannot break its line.
    """

    def __init__(self, write: Write, as_json: bool, with_total: bool, spelled: bool = False) -> None:
        super().__init__(write)
        self._spelled = spelled
        self._as_json = as_json
        self._with_total = with_total
        self._total = 0

    def end(self, error: Error | None = None) -> None:
        if error:
            return
        self._total += self._count
        if self._as_json:
            self._write(json_line({"file": self._source, "count": self._count}))
        else:
            self._write(_count_line(self._name(), self._count))

    def _name(self) -> str | None:
        if self._source is None or not self._spelled:
            return self._source
        from gpt2cli.text.printable import escaped

        return escaped(self._source)

    def close(self) -> None:
        if self._with_total and not self._as_json:
            self._write(_count_line("total", self._total))


class Pieces(TokenWriter):
    """Write one line per token: its id, a tab, and its text as a JSON string."""

    def __init__(self, write: Write, tokenizer: Tokenizer) -> None:
        super().__init__(write)
        piece = _json_pieces(tokenizer)
        self._line = cache(lambda token_id: f"{token_id}\t{piece(token_id)}\n")

    def add(self, ids: array[int]) -> None:
        self._write("".join(map(self._line, ids)).encode())


class JsonRecords(TokenWriter):
    """Write one object per source and line, with `error` if reading the source failed midway.

    Pieces are buffered in the given file.
    """

    def __init__(self, write: Write, tokenizer: Tokenizer, pieces: IO[bytes] | None) -> None:
        super().__init__(write)
        self._decimal = DecimalText(tokenizer.id_limit)
        self._piece = _json_pieces(tokenizer)
        self._pieces = pieces

    def add(self, ids: array[int]) -> None:
        if not ids:
            return
        lead = b", " if self._count else self._head()
        super().add(ids)
        self._write(lead + self._decimal.spell(ids)[:-1].replace(b" ", b", "))
        if self._pieces:
            separator = b", " if self._pieces.tell() else b""
            self._pieces.write(separator + ", ".join(map(self._piece, ids)).encode())

    def end(self, error: Error | None = None) -> None:
        if error and not self._count:
            return
        self._write(b"" if self._count else self._head())
        self._write(b'], "count": %d' % self._count)
        self._end_pieces()
        if error:
            self._write(b', "error": ' + _json_text(str(error)))
        self._write(b"}\n")

    def _head(self) -> bytes:
        return b'{"file": %b, "ids": [' % _json_text(self._source)

    def _end_pieces(self) -> None:
        if self._pieces:
            self._pieces.seek(0)
            self._write(b', "pieces": [')
            while pieces := self._pieces.read(COPIED_BYTES):
                self._write(pieces)
            self._write(b"]")
            self._pieces.seek(0)
            self._pieces.truncate()


class DecodedText(TokenWriter):
    """Write the bytes that ids stand for."""

    def __init__(self, write: Write, tokenizer: Tokenizer) -> None:
        super().__init__(write)
        self._tokenizer = tokenizer
        self._decoder = tokenizer.open_decoder()

    def start(self, source: str | None) -> None:
        super().start(source)
        self._decoder = self._tokenizer.open_decoder()

    def add(self, ids: array[int]) -> None:
        try:
            text = b"".join(map(self._decoder, ids))
        except InputError as error:
            where = f"{source_name(self._source)}: " if self._source else ""
            raise InputError(where + error.message) from error
        self._write(text)


class BinaryIds(TokenWriter):
    """Write the ids of all sources in order to a binary file."""

    def __init__(self, file: TokenFile) -> None:
        super().__init__(lambda _: None)
        self._file = file

    def add(self, ids: array[int]) -> None:
        self._file.write(ids)

    def close(self) -> None:
        self._file.finish()


def _json_pieces(tokenizer: Tokenizer) -> Callable[[int], str]:
    """Return a function from ids to JSON strings, with bytes that are not UTF-8 as \\xNN."""

    def piece(token_id: int) -> str:
        text = tokenizer.token_bytes(token_id).decode("utf-8", "backslashreplace")
        return json_text(text)

    return cache(piece)


def _json_text(value: str | None) -> bytes:
    return json_text(value).encode("utf-8", "replace")


def _count_line(name: str | None, count: int) -> bytes:
    return f"{count}\n".encode() if name is None else b"%d %s\n" % (count, os.fsencode(name))
