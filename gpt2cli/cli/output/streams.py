"""Output as bytes, on stdout or in a file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from gpt2cli.checkpoint.whole_file import removed_unless_renamed
from gpt2cli.errors import InputError

Write = Callable[[bytes], object]


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


def json_line(value: Mapping[str, Any]) -> bytes:
    """Return one object as a line of JSON in UTF-8, without ASCII escapes."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", errors="replace") + b"\n"


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

    Raises:
        OSError: the folder is not writable or the disk is full.
    """
    if path.exists() and (path.is_relative_to("/dev") or not path.is_file()):
        # Devices and pipes must not be replaced, nor /dev/stdout even if it is redirected to a file.
        with path.open("wb") as file:
            yield file
        return
    try:
        with removed_unless_renamed(path.with_name(f".{path.name}.{os.getpid()}.tmp")) as aside:
            with aside.open("wb") as file:
                yield file
            aside.replace(path)
    except OSError as error:
        # Users know the file by this name alone. An error without a name comes from a write.
        if error.filename in (None, str(aside)) and not isinstance(error, BrokenPipeError):
            error.filename = str(path)
        raise


@contextmanager
def open_stdout() -> Iterator[Write]:
    """Yield a function that writes bytes to stdout; a terminal is left without style, even by a signal."""
    if not stdout_is_terminal():
        yield write_stdout
        return
    from gpt2cli.cli.output.terminal.reset import plain_if_cut_off

    with plain_if_cut_off(write_stdout) as write:
        yield write


@contextmanager
def open_output(path: Path | None, *, as_list: bool = False) -> Iterator[Write]:
    """Yield a function that writes bytes to a file, which appears when complete, or to stdout.

    With `as_list`, the lines of JSON that are written become one list.

    Raises:
        OSError: writing failed.
    """
    with (
        open_stdout() if path is None else _opened(path) as write,
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
