"""Engines for tests, run to their end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpt2cli.generation.engine import Engine
from gpt2cli.generation.requests import Event, Token


@dataclass
class Answer:
    """The tokens of one ticket and how they ended."""

    tokens: list[Token] = field(default_factory=list)
    finish_reason: str | None = None

    @property
    def ids(self) -> list[int]:
        """The ids of the tokens."""
        return [token.id for token in self.tokens]


def answers(
    engine: Engine[Any], after: Callable[[Event, Mapping[int, Answer]], object] = lambda *_: None
) -> dict[int, Answer]:
    """Return the answers to all tickets, by ticket; `after` is called after each event."""
    found: dict[int, Answer] = {}
    while not engine.idle:
        events = engine.step()
        for event in events:
            answer = found.setdefault(event.ticket, Answer())
            assert answer.finish_reason is None, "nothing comes after the end"
            if event.token:
                answer.tokens.append(event.token)
            answer.finish_reason = event.finish_reason
            after(event, found)
        tickets = [event.ticket for event in events if event.token]
        assert len(set(tickets)) == len(tickets), "a ticket has one token a step"
    return found
