"""The one thread that computes: it owns an engine, and does what others ask between its steps."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeAlias

from gpt2cli.errors import Error
from gpt2cli.generation.engine import Engine
from gpt2cli.serving.engine_owner import EngineOwner

Call: TypeAlias = Callable[[], object]
LOGGER = logging.getLogger(__name__)


class Worker:
    """A thread with an engine; only what the thread is given to call may use `owner`.

    If a step fails, so do all samples, and a new engine takes the next ones.
    """

    def __init__(self, open_engine: Callable[[], Engine[Any]], after_step: Call) -> None:
        """Create a worker that calls `after_step` after each turn in which something was computed."""
        self.owner = EngineOwner(open_engine)
        self._after_step = after_step
        self._calls: SimpleQueue[Call] = SimpleQueue()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the step that it is at."""
        self.call(self._stop)
        self._thread.join()

    def call(self, function: Call) -> None:
        """Have a function called before the next step; from any thread, and without waiting for it."""
        self._calls.put(function)

    def _stop(self) -> None:
        self._stopped = True

    def _work(self) -> None:
        while True:
            self._answer_calls()
            if self._stopped:
                return
            try:
                self.owner.step()
            except Exception as error:
                LOGGER.exception("A step of the engine failed.")
                self.owner.restart(error if isinstance(error, Error) else Error("The engine failed."))
            self._after_step()

    def _answer_calls(self) -> None:
        """Do what was asked for; wait for something to do if there is nothing."""
        if not self.owner:
            self._calls.get()()
        while not self._calls.empty():
            self._calls.get()()
