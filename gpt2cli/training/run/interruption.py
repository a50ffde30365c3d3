"""Signals that stop a run after its step, when all of it can be saved."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpt2cli.training.run.training_run import TrainingRun


@contextmanager
def stop_signals(
    run: TrainingRun, numbers: Iterable[int], on_stop: Callable[[], None] | None = None
) -> Iterator[list[int]]:
    """Have the first of some signals stop a run after its step; yield the list of those that came.

    A second Ctrl-C raises KeyboardInterrupt at once.
    """
    caught: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        run.stop()
        # torchrun repeats to every process the signal that a terminal has sent to all of them.
        if run.ranks.count == 1:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if on_stop:
                on_stop()

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
