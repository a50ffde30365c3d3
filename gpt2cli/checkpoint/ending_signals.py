"""Signals that end the process, and what must be undone before they do."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# What `kill` and `timeout` send, and what a closed terminal sends. Ctrl-C raises KeyboardInterrupt instead.
ENDING = (signal.SIGTERM, signal.SIGHUP)
_undone_first: list[Callable[[], object]] = []


@contextmanager
def undone_if_killed(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` if SIGTERM or SIGHUP ends the process during the block, which then dies of that signal.

    A signal that is ignored, as under nohup, or that the program handles itself, stays so. Outside the block
    nothing is handled, because a handler would have to wait for the end of a long call into a library.
    """
    handled = _handle_defaults()
    _undone_first.append(undo)
    try:
        yield
    finally:
        _undone_first.remove(undo)
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def _handle_defaults() -> list[signal.Signals]:
    """Handle the signals that would end the process, and return them; only the main thread may."""
    if threading.current_thread() is not threading.main_thread():
        return []
    handled = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in handled:
        signal.signal(number, _undo_and_die)
    return handled


def _undo_and_die(number: int, frame: FrameType | None) -> None:
    for undo in reversed(_undone_first):
        with suppress(Exception):
            undo()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
