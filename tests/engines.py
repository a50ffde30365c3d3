"""Engines for tests, run to their end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gpt2cli.generation.engine import Engine
from gpt2cli.generation.requests import Event, GenerationSettings, Request, Token
from gpt2cli.generation.sampling import Sampler
from gpt2cli.generation.speculation import Drafts
from gpt2cli.model.model import Model


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
