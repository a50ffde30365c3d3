"""The one thread that computes: it owns an engine, and does what others ask between its steps."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, TypeAlias

from gpt2cli.errors import Error
from gpt2cli.generation.engine import Engine
from gpt2cli.generation.requests import Event, Request

# Work in parts that are short enough to stand between two steps of the engine.
Chore: TypeAlias = Iterator[object]
Call: TypeAlias = Callable[[], object]
Taker: TypeAlias = Callable[[Event], object]
LOGGER = logging.getLogger(__name__)


class Worker:
    """A thread with an engine. Samples and chores share it: after each step, one part of one chore is done.

    What the thread is given to call is called in it. If a step fails, so do all samples, and a new engine
    takes the next ones.
    """

    def __init__(self, open_engine: Callable[[], Engine[Any]], after_step: Call) -> None:
        """Create a worker that calls `after_step` after each turn in which something was computed."""
        self._open_engine = open_engine
        self._engine = open_engine()
        self._after_step = after_step
        self._calls: SimpleQueue[Call] = SimpleQueue()
        self._takers: dict[int, Taker] = {}
        self._chores: deque[Chore] = deque()
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

    def submit(self, request: Request, take: Taker) -> int:
        """Submit a sample whose events are given to `take`, and return its ticket."""
        ticket = self._engine.submit(request)
        self._takers[ticket] = take
        return ticket

    def cancel(self, ticket: int) -> None:
        """Drop a sample, whose events are given to nobody from now on."""
        self._engine.cancel(ticket)
        self._takers.pop(ticket, None)

    def add_chore(self, chore: Chore) -> None:
        """Have a chore done, in turns with others."""
        self._chores.append(chore)

    def drop_chore(self, chore: Chore) -> None:
        """Forget a chore, done or not."""
        if chore in self._chores:
            self._chores.remove(chore)

    def _stop(self) -> None:
        self._stopped = True

    def _work(self) -> None:
        while not self._stopped:
            self._answer_calls()
            if self._stopped:
                return
            if not self._engine.idle:
                self._step()
            if self._chores:
                chore = self._chores.popleft()
                if next(chore, self) is not self:
                    self._chores.append(chore)
            self._after_step()

    def _step(self) -> None:
        try:
            events = self._engine.step()
        except Exception as error:
            LOGGER.exception("A step of the engine failed.")
            failed = error if isinstance(error, Error) else Error("The engine failed.")
            events = [Event(ticket, error=failed) for ticket in self._takers]
            self._engine = self._open_engine()
        for event in events:
            # Whoever takes an event may cancel other tickets.
            if take_event := self._takers.get(event.ticket):
                take_event(event)
            if event.finish_reason or event.error:
                self._takers.pop(event.ticket, None)

    def _answer_calls(self) -> None:
        """Do what was asked for; wait for something to do if there is nothing."""
        if self._engine.idle and not self._chores:
            self._calls.get()()
        while not self._calls.empty():
            self._calls.get()()
