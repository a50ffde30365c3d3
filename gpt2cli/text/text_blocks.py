"""Long text in blocks, cut where no GPT-2 token can cross."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from io import BufferedReader, BytesIO

from gpt2cli.errors import InputError

CHUNK_BYTES = 1 << 20

# GPT-2's pattern joins white space to what follows it, never to what precedes it.
_CUT_IN_TEXT = re.compile(r"(?<=\S)(?=[ \n])")
# A run of letters, digits or punctuation ends where another begins, except that an apostrophe may take
# letters along ('ll). Only characters that all versions of Unicode classify alike are listed here.
_CLASS_CHANGE = (
    rb"(?<=[A-Za-z])(?=[!-@\[-`{-~])|(?<=[0-9])(?=[!-/:-~])|(?<=[!-&(-/:-@\[-`{-~])(?=[0-9A-Za-z])"
    rb"|(?:(?<=\xe3\x80[\x81\x82])|(?<=\xef\xbc\x8c))(?=[\xe5-\xe8][\x80-\xbf]{2})"
)
# How far a cut looks back and ahead.
_CONTEXT_BYTES = 4


def read_chunks(stream: BufferedReader | BytesIO, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield a stream's bytes as they arrive."""
    # Unlike read, read1 returns what a pipe has so far, so that a slow writer's text is not held back.
    while chunk := stream.read1(size):
        yield chunk


def cut_blocks(chunks: Iterable[bytes], between_words_only: bool = False) -> Iterator[bytes]:
    """Yield the same bytes in blocks whose concatenated ids are the ids of the whole.

    A block ends between a non-space and a space. If there is no such place and `between_words_only` is
    false, it ends between ASCII letters, digits and punctuation. A run without either place stays whole.
    """
    pending = bytearray()
    for chunk in chunks:
        start = max(len(pending) - _CONTEXT_BYTES, 0)
        pending += chunk
        cut = _last_cut(pending, start, between_words_only)
        if cut:
            yield bytes(memoryview(pending)[:cut])
            del pending[:cut]
    if pending:
        yield bytes(pending)


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


def require_unicode(text: str) -> None:
    """Check that a text can be encoded.

    Raises:
        InputError: it contains a lone surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"Character {error.start} of the text is a lone surrogate.") from error


def _last_cut(data: bytearray, start: int, between_words_only: bool) -> int:
    cut = _before_space().match(data, start)
    if cut is None and not between_words_only:
        cut = _at_class_change().match(data, start)
    return cut.end() if cut else 0


# A greedy .* finds the last place first.
@cache
def _before_space() -> re.Pattern[bytes]:
    spaces = (chr(code).encode() for code in range(0x3001) if chr(code).isspace())
    no_space_before = b"".join(b"(?<!%b)" % re.escape(space) for space in spaces)
    return re.compile(rb"(?s:.*)(?=[ \t\n\r\f\v])(?<=.)" + no_space_before, re.DOTALL)


@cache
def _at_class_change() -> re.Pattern[bytes]:
    return re.compile(rb"(?s:.*)(?:" + _CLASS_CHANGE + rb")")
