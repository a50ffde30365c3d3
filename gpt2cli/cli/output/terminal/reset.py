"""Setting a terminal back when the process ends in the middle of drawing."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpt2cli.checkpoint.ending_signals import undone_if_killed

if TYPE_CHECKING:
    from rich.console import Console

    from gpt2cli.cli.output.streams import Write

SHOW_CURSOR, PLAIN = b"\x1b[?25h", b"\x1b[0m"
# A terminal that Ctrl-S has stopped must not keep the process from ending.
PATIENCE_SECONDS = 1.0


@contextmanager
def cursor_shown_if_killed(consoles: Sequence[Console]) -> Iterator[None]:
    """Show the cursor if a signal ends the process; rich hides it on these consoles on stderr."""

    def show() -> None:
        if not all(console.is_dumb_terminal for console in consoles):
            _write_soon(2, SHOW_CURSOR + b"\n")

    with undone_if_killed(show):
        yield


@contextmanager
def plain_if_cut_off(write: Write) -> Iterator[Write]:
    """Yield a function that writes to a terminal on stdout; a signal leaves it plain and on a new line."""
    styled = within_line = False

    def watched(data: bytes) -> None:
        nonlocal styled, within_line
        styled = styled or b"\x1b" in data
        within_line = True
        write(data)
        within_line = not data.endswith(b"\n")

    def reset() -> None:
        _write_soon(1, PLAIN * styled + b"\n" * within_line)

    with undone_if_killed(reset):
        yield watched


def _write_soon(descriptor: int, data: bytes) -> None:
    _, ready, _ = select.select([], [descriptor], [], PATIENCE_SECONDS)
    if ready:
        os.write(descriptor, data)
