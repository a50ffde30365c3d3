"""The samples and chores of one request, which are dropped together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from gpt2cli.generation.requests import Event, FinishReason, Request
from gpt2cli.serving.engine_owner import Chore, EngineOwner


class Told(Protocol):
    """What a client is told of a sample; the last has the reason of its end."""

    @property
    def finish_reason(self) -> FinishReason | None:
        """The reason of the end."""


class Failure(NamedTuple):
    """What ended a request early."""

    error: Exception


class Tickets:
    """What the owner of an engine does for one request; all methods are called in its thread.

    What a client is to be told is given to `post`, and so is a failure, after which nothing follows.
    """

    def __init__(self, owner: EngineOwner, post: Callable[[Any], object]) -> None:
        self.post = post
        self.positions_at_once = owner.positions_at_once
        self._owner = owner
        self._tickets: set[int] = set()
        self._chores: list[Chore] = []

    def submit(self, request: Request, tell: Callable[[Event], Told | None]) -> None:
        """Have a sample made; `tell` returns what an event means to the client, and a reason to end."""

        def take(event: Event) -> None:
            if event.error:
                self.fail(event.error)
                return
            told = tell(event)
            if told and told.finish_reason:
                self._owner.cancel(ticket)
                self._tickets.discard(ticket)
            if told:
                self.post(told)

        ticket = self._owner.submit(request, lambda event: self.attempt(lambda: take(event)))
        self._tickets.add(ticket)

    def add_chore(self, chore: Chore) -> None:
        """Have a chore done."""
        guarded = self._guarded(chore)
        self._chores.append(guarded)
        self._owner.add_chore(guarded)

    def attempt(self, call: Callable[[], object]) -> None:
        """Call a function; what it raises ends this request, and not the thread."""
        try:
            call()
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Drop everything because of an error."""
        self.cancel()
        self.post(Failure(error))

    def cancel(self) -> None:
        """Drop what is not done."""
        for ticket in self._tickets:
            self._owner.cancel(ticket)
        for chore in self._chores:
            self._owner.drop_chore(chore)
        self._tickets.clear()
        self._chores.clear()

    def _guarded(self, chore: Chore) -> Chore:
        try:
            yield from chore
        except Exception as error:
            self.fail(error)
