"""Engines for tests, run to their end."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from gpt2cli.generation.engine import Engine
from gpt2cli.generation.requests import Event, GenerationSettings, Request, Token
from gpt2cli.generation.sampling import Sampler
from gpt2cli.generation.speculation import Drafts
from gpt2cli.model.model import Model

AnyRequest: TypeAlias = Callable[[random.Random, Sequence[Sequence[int]]], Request]


@dataclass
class Answer:
    """The tokens of one ticket and how they ended."""

    tokens: list[Token] = field(default_factory=list)
    finish_reason: str | None = None

    @property
    def ids(self) -> list[int]:
        """The ids of the tokens."""
        return [token.id for token in self.tokens]

    def add(self, event: Event) -> None:
        """Add a token or the end."""
        assert self.finish_reason is None, "nothing comes after the end"
        if event.token:
            self.tokens.append(event.token)
        self.finish_reason = event.finish_reason


def answers(
    engine: Engine[Any], after: Callable[[Event, Mapping[int, Answer]], object] = lambda *_: None
) -> dict[int, Answer]:
    """Return the answers to all tickets, by ticket; `after` is called after each event."""
    found: dict[int, Answer] = {}
    while not engine.idle:
        events = engine.step()
        for event in events:
            found.setdefault(event.ticket, Answer()).add(event)
            after(event, found)
        tickets = [event.ticket for event in events if event.token]
        assert len(set(tickets)) == len(tickets), "a ticket has one token a step"
    return found


def alone(model: Model[Any], entry: Request) -> Answer:
    """Return the answer to a request in an engine of its own."""
    engine = Engine(model, rows=1)
    ticket = engine.submit(entry)
    return answers(engine)[ticket]


def random_answers(
    engine: Engine[Any], choice: random.Random, beginning: Sequence[int], any_request: AnyRequest
) -> list[tuple[Request, Answer]]:
    """Submit, cancel and stop 25 requests at random places; return those that began, with what came.

    A request is made of the random numbers and the texts so far, the first of which is `beginning`.
    """
    texts: list[Sequence[int]] = [beginning]
    entries: dict[int, Request] = {}
    found: defaultdict[int, Answer] = defaultdict(Answer)
    gone: set[int] = set()
    while len(entries) < 25 or not engine.idle:
        if len(entries) < 25 and choice.random() < 0.4:
            entry = any_request(choice, texts)
            entries[engine.submit(entry)] = entry
        for event in engine.step():
            assert event.ticket not in gone
            found[event.ticket].add(event)
            if event.finish_reason:
                texts.append([*entries[event.ticket].ids, *found[event.ticket].ids])
        if entries and choice.random() < 0.06:
            ticket = choice.choice(list(entries))
            engine.stop(ticket)
            if choice.random() < 0.5:
                engine.cancel(ticket)
                gone.add(ticket)
    return [(entries[ticket], answer) for ticket, answer in found.items()]


class SampleToken(NamedTuple):
    """A token and the number of its sample."""

    sample: int
    id: int
    logprob: float | None
    top: tuple[tuple[int, float], ...]


class Samples:
    """Samples of one prompt, made together; iterating yields their tokens."""

    def __init__(
        self,
        model: Model[Any],
        ids: Sequence[int],
        sampler: Sampler,
        settings: GenerationSettings,
        samples: Sequence[int] = (0,),
    ) -> None:
        self.finish_reasons: dict[int, str] = {}
        self.drafts = {sample: Drafts() for sample in samples}
        self._engine = Engine(model, rows=len(samples))
        self._tickets = {
            sample: self._engine.submit(Request(ids, sampler, settings, sample, self.drafts[sample]))
            for sample in samples
        }

    def stop(self, sample: int) -> None:
        """End a sample."""
        self._engine.stop(self._tickets[sample])

    def __iter__(self) -> Iterator[SampleToken]:
        samples = {ticket: sample for sample, ticket in self._tickets.items()}
        while not self._engine.idle:
            for event in self._engine.step():
                sample = samples[event.ticket]
                if event.error:
                    raise event.error
                if event.token:
                    yield SampleToken(sample, *event.token)
                if event.finish_reason:
                    self.finish_reasons[sample] = event.finish_reason
