"""Long text in blocks, cut where no GPT-2 token can cross."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from io import BufferedReader, BytesIO
from typing import NamedTuple

from gpt2cli.errors import InputError

CHUNK_BYTES = 1 << 20
LONGEST_RUN = 1 << 18

# GPT-2's pattern joins white space to what follows it, never to what precedes it.
_CUT_IN_TEXT = re.compile(r"(?<=\S)(?=[ \n])")
# A run of letters, digits or punctuation ends where another begins, except that an apostrophe may take
# letters along ('ll). Only characters that all versions of Unicode classify alike are listed here.
_CLASS_CHANGE = (
    rb"(?<=[A-Za-z])(?=[!-@\[-`{-~])|(?<=[0-9])(?=[!-/:-~])|(?<=[!-&(-/:-@\[-`{-~])(?=[0-9A-Za-z])"
    rb"|(?:(?<=\xe3\x80[\x81\x82])|(?<=\xef\xbc\x8c))(?=[\xe5-\xe8][\x80-\xbf]{2})"
)
# Bytes between any two of which there is no place: letters, digits, white space and control characters.
_RUN_BYTES = (
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    b"0123456789",
    b" \t\n\r\f\v",
    bytes({*range(32), 127} - {*b" \t\n\r\f\v"}),
)
# How far a cut looks back and ahead.
_CONTEXT_BYTES = 4


def read_chunks(stream: BufferedReader | BytesIO, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield a stream's bytes as they arrive."""
    # Unlike read, read1 returns what a pipe has so far, so that a slow writer's text is not held back.
    while chunk := stream.read1(size):
        yield chunk


class Block(NamedTuple):
    """Bytes of a text, and whether its ids do not depend on what follows."""

    data: bytes
    is_whole: bool


def cut_blocks(
    chunks: Iterable[bytes], between_words_only: bool = False, cuts_runs: Callable[[], bool] | None = None
) -> Iterator[Block]:
    """Yield the same bytes in blocks whose concatenated ids are the ids of the whole.

    A block ends between a non-space and a space. If there is no such place and `between_words_only` is
    false, it ends between ASCII letters, digits and punctuation. A run without either place stays whole,
    unless it is long and `cuts_runs` says that it need not: then its blocks end between any characters.
    """
    pending = bytearray()
    is_whole = True
    for chunk in filter(None, chunks):
        start = max(len(pending) - _CONTEXT_BYTES, 0)
        pending += chunk
        cut = _last_cut(pending, start, between_words_only)
        if not cut and cuts_runs and len(pending) > LONGEST_RUN and cuts_runs():
            cut = len(pending) - _begun_character(pending)
            is_whole = False
        elif cut:
            is_whole = True
        if cut:
            yield Block(bytes(memoryview(pending)[:cut]), is_whole)
            del pending[:cut]
    if pending or not is_whole:
        yield Block(bytes(pending), True)


def text_parts(text: str, length: int) -> Iterator[str]:
    """Yield a text in parts of about `length` characters, cut between a non-space and a space."""
    start = 0
    while cut := _CUT_IN_TEXT.search(text, start + length):
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:]


def decode_utf8(data: bytes, name: str, offset: int = 0) -> str:
    """Return the text of bytes that begin at a byte offset of a source; `name` is for messages.

    Raises:
        InputError: they are not UTF-8.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name}: the byte 0x{data[error.start]:02x} at offset {offset + error.start} "
            "is not valid UTF-8.",
            "Convert the text with iconv.",
        ) from error


def decode_parts(chunks: Iterable[bytes], name: str) -> Iterator[str]:
    """Yield the text of the bytes of a source, in parts; `name` is for messages.

    Raises:
        InputError: they are not UTF-8; earlier parts have been yielded.
    """
    offset, held = 0, b""
    for chunk in chunks:
        data = held + chunk
        end = len(data) - _begun_character(data)
        yield decode_utf8(data[:end], name, offset)
        offset, held = offset + end, data[end:]
    yield decode_utf8(held, name, offset)


def require_unicode(text: str) -> None:
    """Check that a text can be encoded.

    Raises:
        InputError: it contains a lone surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"Character {error.start} of the text is a lone surrogate.") from error


def _begun_character(data: bytes | bytearray) -> int:
    """Return how many bytes at the end are the beginning of a character in UTF-8."""
    for count in range(1, min(4, len(data) + 1)):
        lead = data[-count]
        if lead >= 0xC0:
            size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return count if count < size else 0
    return 0


def _last_cut(data: bytearray, start: int, between_words_only: bool) -> int:
    # Searching takes a hundred times as long.
    if _is_run(data[-_CONTEXT_BYTES:]) and _is_run(data[start:]):
        return 0
    cut = _before_space().match(data, start)
    if cut is None and not between_words_only:
        cut = _at_class_change().match(data, start)
    return cut.end() if cut else 0


def _is_run(data: bytearray) -> bool:
    return any(not data.translate(None, run) for run in _RUN_BYTES if data[-1] in run)


# A greedy .* finds the last place first.
@cache
def _before_space() -> re.Pattern[bytes]:
    spaces = (chr(code).encode() for code in range(0x3001) if chr(code).isspace())
    no_space_before = b"".join(b"(?<!%b)" % re.escape(space) for space in spaces)
    return re.compile(rb"(?s:.*)(?=[ \t\n\r\f\v])(?<=.)" + no_space_before, re.DOTALL)


@cache
def _at_class_change() -> re.Pattern[bytes]:
    return re.compile(rb"(?s:.*)(?:" + _CLASS_CHANGE + rb")")
