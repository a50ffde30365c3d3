"""What people see: the product on stdout, byte for byte, and messages on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer
from typing import IO, TYPE_CHECKING, Any

from gpt2cli.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

# In seconds; most work ends sooner than the import of what draws.
SPINNER_DELAY = 0.3


def write_stdout(data: bytes) -> None:
    """Write bytes to stdout and flush them, so that a reader has each token as it is made.

    Raises:
        InputError: stdout is closed.
        OSError: it cannot be written, BrokenPipeError if its reader is gone.
    """
    if sys.stdout is None:
        raise InputError("standard output is closed.")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def json_line(value: Mapping[str, Any]) -> bytes:
    """Return one object as a line of JSON in UTF-8; text keeps its characters."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", errors="replace") + b"\n"


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its name only when the block ends well; a device is written as it is.

    Raises:
        OSError: the folder cannot be written or is full.
    """
    if path.exists() and (path.is_relative_to("/dev") or not path.is_file()):
        # Neither a device nor a pipe may be replaced, and /dev/stdout not even where it leads to a file.
        with path.open("wb") as file:
            yield file
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            yield file
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def open_output(path: Path | None) -> Iterator[Callable[[bytes], object]]:
    """Return what writes bytes to a file that appears when it is complete, or to stdout at once.

    Raises:
        OSError: it cannot be written.
    """
    if path is None:
        yield write_stdout
        return
    with atomic_file(path) as file:
        yield file.write


def wants_color(color: str) -> bool:
    """Tell whether text on stdout may carry styles; color is auto, always or never."""
    if color != "auto":
        return color == "always"
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and sys.stdout is not None and sys.stdout.isatty()


class Messages:
    """Talk to the person at the terminal, on stderr; never more than asked for."""

    def __init__(self, quiet: bool = False, verbose: bool = False, color: str = "auto") -> None:
        self.quiet = quiet
        self.verbose = verbose
        self.color = color

    def note(self, text: str) -> None:
        """Print one line, unless quiet."""
        if not self.quiet and sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)

    def detail(self, text: str) -> None:
        """Print one line, if verbose."""
        if self.verbose:
            self.note(text)

    @property
    def on_terminal(self) -> bool:
        """Tell whether stderr is a terminal where something may move."""
        return not self.quiet and sys.stderr is not None and sys.stderr.isatty()

    @contextmanager
    def spinner(self, text: str) -> Iterator[None]:
        """Show that something goes on once the block has run for a while, on a terminal only."""
        if not self.on_terminal:
            yield
            return
        with ExitStack() as shown:

            def show() -> None:
                shown.enter_context(stderr_console(self.color).status(text))

            timer = Timer(SPINNER_DELAY, show)
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
                timer.join()


def stderr_console(color: str = "auto") -> Console:
    """Return a rich console on stderr; color is auto, always or never."""
    return _console(color, stderr=True)


def stdout_console(color: str = "auto") -> Console:
    """Return a rich console on stdout, for tables and pictures only; color is auto, always or never."""
    return _console(color, stderr=False)


def _console(color: str, stderr: bool) -> Console:
    # Only what draws needs rich, whose import costs as much as a short command.
    from rich.console import Console

    return Console(
        stderr=stderr,
        force_terminal=True if color == "always" else None,
        no_color=True if color == "never" else None,
        highlight=False,
    )
