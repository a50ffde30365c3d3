"""Arguments, files and standard input, as bytes or UTF-8 text."""

from __future__ import annotations

import os
import stat
import sys
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import cast

from gpt2cli.errors import InputError, UsageError
from gpt2cli.text.streaming.text_blocks import CHUNK_BYTES, decode_utf8

STDIN = "-"
# Longer texts are read while they are used.
LONG_TEXT_BYTES = 1 << 20
STDIN_CLOSED = "standard input is closed."
STDIN_IGNORED = "note: stdin ignored because a text was given; use - to read it"


def read_prompt(
    prompt: str | None,
    file: str | None,
    keep_newline: bool,
    note: Callable[[str], None],
    argument: str = "PROMPT",
) -> str:
    """Return the text to continue: that of the argument, of a file or of standard input.

    One final line ending of a file or of standard input is dropped, unless `keep_newline` is true.

    Raises:
        UsageError: both are given, or neither is and standard input is a terminal, or the text is not UTF-8.
        InputError: the text cannot be read.
    """
    if prompt is not None and file is not None:
        raise UsageError(f"{argument} and --file exclude each other.", "Give one of them.")
    if prompt is not None and prompt != STDIN:
        if _bytes_wait_on_stdin():
            note(STDIN_IGNORED)
        return argument_text(prompt, argument)
    if prompt is None and file is None:
        require_stdin(f"Give a {argument} or --file FILE, or pipe text in.")
    source = STDIN if file is None else str(file)
    text = _prompt_text(read_bytes(source), source_name(source))
    return text if keep_newline else _without_final_newline(text)


def require_stdin(hint: str) -> None:
    """Check that standard input can be read without being named by `-`.

    Raises:
        UsageError: it is closed, or a terminal, where the command would seem to hang.
    """
    if sys.stdin is None:
        raise UsageError(STDIN_CLOSED, hint)
    if sys.stdin.isatty():
        raise UsageError("There is nothing to read: standard input is a terminal.", hint)


def read_text(source: str) -> str:
    """Return the whole text of a file, or of standard input for `-`.

    Raises:
        InputError: it cannot be read, or is not UTF-8.
    """
    return decode_utf8(read_bytes(source), source_name(source))


def read_content(source: str) -> str | Iterator[str]:
    """Return the text of a file, or of standard input for `-`; a long one in parts, as they arrive.

    Raises:
        InputError: it cannot be read, or is not UTF-8; in a later part of a long text, once that is read.
    """
    chunks = source_chunks(source)
    begun: list[bytes] = []
    while sum(map(len, begun)) <= LONG_TEXT_BYTES:
        chunk = next(chunks, None)
        if chunk is None:
            return decode_utf8(b"".join(begun), source_name(source))
        begun.append(chunk)
    from gpt2cli.text.streaming.text_blocks import decode_parts

    return decode_parts(chain(begun, chunks), source_name(source))


def argument_text(text: str, name: str) -> str:
    """Return an argument's text.

    Raises:
        UsageError: it is not UTF-8.
    """
    return _prompt_text(argument_bytes(text), name)


def argument_bytes(text: str) -> bytes:
    """Return an argument's bytes, without a byte order mark."""
    # In arguments, bytes that the locale cannot decode become lone surrogates.
    return text.encode("utf-8", "surrogateescape").removeprefix(BOM_UTF8)


def read_bytes(source: str) -> bytes:
    """Return the bytes of a text in a file, or in standard input for `-`.

    Raises:
        UsageError, InputError: as `source_chunks` does; it has more than can be held at once.
    """
    # A prompt that is an argument needs none of this.
    from gpt2cli.text.reading.limits import MOST_HELD, within

    return b"".join(within(source_chunks(source), source_name(source), MOST_HELD))


def source_chunks(source: str, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield the bytes of a text in a file, or in standard input for `-`, as they arrive.

    Raises:
        UsageError: standard input is closed.
        InputError: the text cannot be read or decompressed.
    """
    # A prompt that is an argument needs none of this.
    from gpt2cli.text.reading.chunks import file_chunks, stream_chunks

    if source != STDIN:
        yield from file_chunks(source, size)
        return
    if sys.stdin is None:
        raise UsageError(STDIN_CLOSED)
    try:
        yield from stream_chunks(cast("BufferedReader", sys.stdin.buffer), size)
    except OSError as error:
        raise InputError(f"{source_name(source)}: {error.strerror}.") from error


def raw_chunks(source: str, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield the bytes of a file, or of standard input for `-`, as they arrive and whatever they are.

    Raises:
        UsageError: standard input is closed.
        InputError: the file cannot be read.
    """
    from gpt2cli.text.streaming.text_blocks import read_chunks

    if source == STDIN and sys.stdin is None:
        raise UsageError(STDIN_CLOSED)
    try:
        with nullcontext(sys.stdin.buffer) if source == STDIN else Path(source).open("rb") as file:
            yield from read_chunks(cast("BufferedReader", file), size)
    except OSError as error:
        raise InputError(f"{source_name(source)}: {error.strerror}.") from error


def begun_chunks(source: str, size: int) -> Iterator[bytes]:
    """Return what `raw_chunks` yields, once the first bytes are there.

    Raises:
        UsageError, InputError: as `raw_chunks` does, at once.
    """
    chunks = raw_chunks(source, size)
    first = next(chunks, b"")
    return chain([first], chunks)


def bytes_to_read(sources: Iterable[str]) -> int | None:
    """Return how many bytes all sources have, or None if one is compressed or not a regular file."""
    from gpt2cli.text.reading.compression import is_compressed

    total = 0
    for source in sources:
        try:
            status = os.fstat(0) if source == STDIN else Path(source).stat()
        except OSError:
            continue
        if not stat.S_ISREG(status.st_mode) or is_compressed(source):
            return None
        total += status.st_size
    return total


def is_file(name: str) -> bool:
    """Return whether a text is the name of an existing file; any text is allowed."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


def source_name(source: str) -> str:
    """Return the name of a source in messages."""
    return "standard input" if source == STDIN else source


def _prompt_text(data: bytes, name: str) -> str:
    try:
        return decode_utf8(data, name)
    except InputError as error:
        raise UsageError(error.message, error.hint) from error


def _without_final_newline(text: str) -> str:
    if text.endswith("\r\n"):
        return text[:-2]
    return text.removesuffix("\n")


def _bytes_wait_on_stdin() -> bool:
    if sys.stdin is None:
        return False
    try:
        if not stat.S_ISFIFO(os.fstat(0).st_mode):
            return False
        import fcntl
        import termios

        # select would also report a pipe at end of file.
        waiting = fcntl.ioctl(0, termios.FIONREAD, bytes(4))
    except OSError:
        return False
    return any(waiting)
