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


@contextmanager
def cursor_shown_if_killed(consoles: Sequence[Console]) -> Iterator[None]:
    """Show the cursor if SIGTERM or SIGHUP ends the process; rich hides it on these consoles on stderr."""

    def show() -> None:
        if not all(console.is_dumb_terminal for console in consoles):
            _write_at_once(2, SHOW_CURSOR + b"\n")

    with undone_if_killed(show):
        yield


@contextmanager
def plain_if_cut_off(write: Write) -> Iterator[Write]:
    """Yield a function that writes to a terminal on stdout, which gets plain if a signal ends the block."""
    styled = False

    def watched(data: bytes) -> None:
        nonlocal styled
        styled = styled or b"\x1b" in data
        write(data)

    def reset() -> None:
        if styled:
            _write_at_once(1, PLAIN)

    with undone_if_killed(reset):
        try:
            yield watched
        except KeyboardInterrupt:
            reset()
            raise


def _write_at_once(descriptor: int, codes: bytes) -> None:
    # A terminal that Ctrl-S has stopped must not keep the process from ending.
    _, ready, _ = select.select([], [descriptor], [], 0)
    if ready:
        os.write(descriptor, codes)
