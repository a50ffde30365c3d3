"""Signals that stop a run after its step, when all of it can be saved."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from gpt2cli.errors import Error

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

    with ExitStack() as handlers:
        for number in numbers:
            handlers.callback(signal.signal, number, signal.signal(number, stop))
        try:
            yield caught
        except Error:
            if run.ranks.count > 1:
                # torchrun ends the rest of a broken job by SIGTERM, perhaps before this process has said why.
                handlers.pop_all()
            raise
