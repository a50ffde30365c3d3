"""Output as bytes, on stdout or in a file."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from stat import S_IMODE
from typing import IO, Any

from gpt2cli.checkpoint.whole_file import removed_unless_renamed
from gpt2cli.errors import InputError

LONGEST_BEGINNING = 200

Write = Callable[[bytes], object]

# Lone surrogates that do not stand for a byte of a name.
_NO_BYTE = "[\ud800-\udc7f\udd00-\udfff]"


def write_stdout(data: bytes) -> None:
    """Write bytes to stdout and flush them, so that readers get each token at once.

    Raises:
        InputError: stdout is closed.
        OSError: writing failed; BrokenPipeError if the reader is gone.
    """
    stdout_writer()(data)


def stdout_writer() -> Write:
    """Return a function that writes bytes to what is stdout now, as `write_stdout` does.

    Raises:
        InputError: stdout is closed.
    """
    if sys.stdout is None:
        raise InputError("standard output is closed.")
    buffer = sys.stdout.buffer

    def write(data: bytes) -> None:
        buffer.write(data)
        buffer.flush()

    return write


def write_path(path: str | Path) -> None:
    """Write the path of what was made to stdout, as it is in a pipe, and without acting on a terminal.

    Raises:
        InputError: stdout is closed.
        OSError: writing failed.
    """
    data = os.fsencode(path)
    if stdout_is_terminal():
        from gpt2cli.text.printable import escaped

        data = escaped(os.fsdecode(data)).encode()
    write_stdout(data + b"\n")


def json_line(value: Any) -> bytes:
    """Return a value as a line of JSON in UTF-8."""
    from gpt2cli.text.json_text import json_text

    return json_text(value).encode("utf-8", errors="replace") + b"\n"


def text_bytes(text: str) -> bytes:
    """Return text in UTF-8; bytes of names stay as they are, and half a surrogate pair is a question mark."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return re.sub(_NO_BYTE, "?", text).encode("utf-8", "surrogateescape")


@contextmanager
def json_list(write: Write) -> Iterator[Write]:
    """Yield a function that writes lines of JSON, whole or in parts, as the elements of one list."""
    before = b"["

    def write_element(data: bytes) -> None:
        nonlocal before
        # JSON has no line ends inside, so each one ends an element.
        for index, part in enumerate(data.split(b"\n")):
            if index:
                before = b",\n"
            if part:
                write(before + part)
                before = b""

    yield write_element
    write(b"[]\n" if before == b"[" else b"]\n")


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that appears only if the block succeeds; a device is written directly.

    A file there is replaced by one with its owner and permissions, and a symbolic link stays one.

    Raises:
        OSError: the folder is not writable or the disk is full.
    """
    if path.exists() and (path.is_relative_to("/dev") or not path.is_file()):
        # Devices and pipes must not be replaced, nor /dev/stdout even if it is redirected to a file.
        with path.open("wb") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    # The name of the file may be as long as names can be.
    beginning = os.fsdecode(os.fsencode(target.name)[:LONGEST_BEGINNING])
    aside = target.with_name(f".{beginning}.{os.getpid()}.tmp")
    try:
        with removed_unless_renamed(aside):
            with aside.open("wb") as file:
                if target.exists():
                    _take_after(file, target)
                yield file
            aside.replace(target)
    except OSError as error:
        # Users know the file by this name alone. An error without a name comes from a write.
        if error.filename in (None, str(aside)) and not isinstance(error, BrokenPipeError):
            error.filename = str(path)
        raise


def _take_after(file: IO[bytes], target: Path) -> None:
    """Give a file the owner, as far as this user may, and the permissions of another."""
    status = target.stat()
    with suppress(OSError):
        os.fchown(file.fileno(), status.st_uid, status.st_gid)
    # Where permissions cannot be changed, all files have the same.
    if S_IMODE(os.fstat(file.fileno()).st_mode) != S_IMODE(status.st_mode):
        os.fchmod(file.fileno(), S_IMODE(status.st_mode))


@contextmanager
def open_stdout(raw: bool = False) -> Iterator[Write]:
    """Yield a function that writes bytes to stdout.

    A terminal is left without style, even by a signal. Unless `raw` is true, it gets escapes in place of what
    it would obey or hide; a writer that uses styles sees to that itself.
    """
    if not stdout_is_terminal():
        yield write_stdout
        return
    from gpt2cli.cli.output.terminal.reset import plain_if_cut_off
    from gpt2cli.cli.output.terminal.spelled_controls import spelled_controls

    with (
        plain_if_cut_off(write_stdout) as write,
        nullcontext(write) if raw else spelled_controls(write) as safe,
    ):
        yield safe


@contextmanager
def open_output(path: Path | None, *, as_list: bool = False, raw: bool = False) -> Iterator[Write]:
    """Yield a function that writes bytes to a file, which appears when complete, or to stdout.

    With `as_list`, the lines of JSON that are written become one list. `raw` is that of `open_stdout`.

    Raises:
        OSError: writing failed.
    """
    with (
        open_stdout(raw) if path is None else _opened(path) as write,
        json_list(write) if as_list else nullcontext(write) as opened,
    ):
        yield opened


@contextmanager
def _opened(path: Path) -> Iterator[Write]:
    with atomic_file(path) as file:
        yield file.write


def stdout_is_terminal() -> bool:
    """Return whether stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def terminal_columns() -> int:
    """Return COLUMNS if set, else the width of the terminal on stdout, else 80."""
    import shutil

    return shutil.get_terminal_size().columns


def wants_color(color: str) -> bool:
    """Return whether to style text on stdout; color is auto, always or never."""
    if color != "auto":
        return color == "always"
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and stdout_is_terminal()
