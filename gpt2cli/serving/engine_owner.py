"""An engine and what its events are for, in one thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from gpt2cli.errors import Error
from gpt2cli.generation.engine import CHUNK_ALONE, SHORTEST_CHUNK, Engine
from gpt2cli.generation.requests import Event, Request

Take = Callable[[Event], object]
# Work in parts that are short enough to stand between two steps of the engine.
Chore = Iterator[object]


class EngineOwner:
    """An engine with takers of the events of each ticket, and with chores of which it does a part a step."""

    def __init__(self, open_engine: Callable[[], Engine[Any]]) -> None:
        self._open_engine = open_engine
        self._engine = open_engine()
        self._takers: dict[int, Take] = {}
        self._chores: deque[Chore] = deque()

    def __len__(self) -> int:
        """Return how many samples and chores are not done."""
        return len(self._takers) + len(self._chores)

    def positions_at_once(self) -> int:
        """Return how many positions a chore may read in a part: few while samples are made."""
        return SHORTEST_CHUNK if self._takers else CHUNK_ALONE

    def submit(self, request: Request, take: Take) -> int:
        """Submit a sample whose events are given to `take`, and return its ticket."""
        ticket = self._engine.submit(request)
        self._takers[ticket] = take
        return ticket

    def stop(self, ticket: int) -> None:
        """End a sample because a stop string was found."""
        self._engine.stop(ticket)

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

    def step(self) -> None:
        """Make the next token of each sample, and do a part of one chore."""
        if not self._engine.idle:
            for event in self._engine.step():
                self._give(event)
        if self._chores:
            chore = self._chores[0]
            if next(chore, self) is not self and chore in self._chores:
                self._chores.rotate(-1)
            else:
                self.drop_chore(chore)

    def restart(self, error: Error) -> None:
        """End all samples with an error, and go on with a new engine."""
        self._engine = self._open_engine()
        for ticket in list(self._takers):
            self._give(Event(ticket, error=error))

    def _give(self, event: Event) -> None:
        # Whoever takes an event may cancel others.
        ends = event.finish_reason or event.error
        take = self._takers.pop(event.ticket, None) if ends else self._takers.get(event.ticket)
        if take:
            take(event)
