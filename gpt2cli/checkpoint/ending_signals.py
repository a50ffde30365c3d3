"""Signals that end the process, and what must be undone before they do."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TypeAlias

Handler: TypeAlias = signal.Handlers | Callable[[int, FrameType | None], None]
# What `kill` and `timeout` send, what a closed terminal sends, Ctrl-C and Ctrl-\.
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_undone_first: list[Callable[[], object]] = []


@contextmanager
def undone_if_killed(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` if a signal of ENDING ends the process during the block, which then dies of that signal.

    A signal that is ignored, as under nohup, or that the program handles itself, stays so. Ctrl-C may raise
    KeyboardInterrupt instead, as it does in Python. Outside the block nothing is handled, because a handler
    would have to wait for the end of a long call into a library.
    """
    _undone_first.append(undo)
    _change_handlers(signal.SIG_DFL, _undo_and_die)
    try:
        yield
    finally:
        _undone_first.remove(undo)
        if not _undone_first:
            _change_handlers(_undo_and_die, signal.SIG_DFL)


def _change_handlers(before: Handler, after: Handler) -> None:
    # Python lets only the main thread do so. It then handles signals for the blocks of all threads.
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            if signal.getsignal(number) is before:
                signal.signal(number, after)


def _undo_and_die(number: int, frame: FrameType | None) -> None:
    for undo in reversed(_undone_first):
        with suppress(Exception):
            undo()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
