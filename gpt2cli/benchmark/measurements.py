"""What is measured, in which order, and what several rounds of it say."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Step = Literal["first_token", "peak_memory", "inside"]
# Two are read off whole processes; all others are taken inside one that has loaded the model.
STEPS: tuple[Step, ...] = ("first_token", "peak_memory", "inside")
WARM_UP = 0


@dataclass(frozen=True)
class Measure:
    """Name something that is measured, and the unit it is told in."""

    name: str
    title: str
    unit: str

    @property
    def step(self) -> Step:
        """The process that it is taken in."""
        return next((step for step in STEPS if step == self.name), "inside")


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("first_token", "first token", "s"),
        Measure("prefill", "prefill", "tokens/s"),
        Measure("decode", "decode", "tokens/s"),
        Measure("batch", "batch", "tokens/s"),
        Measure("score", "score", "tokens/s"),
        Measure("tokenize", "tokenize", "MB/s"),
        Measure("peak_memory", "peak memory", "MB"),
    )
}
# Taken beside every `decode`: of the machine, and how much of it was reached at that moment.
BANDWIDTH = Measure("bandwidth", "memory bandwidth", "GB/s")
REACHED = Measure("bandwidth_fraction", "bandwidth reached", "")


@dataclass(frozen=True)
class Measurement:
    """Sum up one value a round."""

    unit: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle value, or the mean of the middle two."""
        ordered = sorted(self.values)
        middle = len(ordered) // 2
        return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2

    def to_dict(self) -> dict[str, float | int | str]:
        """Return what a reader of JSON needs."""
        return {
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "rounds": len(self.values),
            "unit": self.unit,
        }


class Turn(NamedTuple):
    """Name one process to be run; its round is WARM_UP where nothing is kept of it."""

    round: int
    step: Step
    engine: str


def schedule(rounds: int, steps: Mapping[str, Collection[Step]]) -> Iterator[Turn]:
    """Yield the turns of engines, given the steps that each takes part in.

    In a round, the engines do a step one right after the other, so that a change of the machine's speed
    meets all of them; each round begins with another engine. Before the first, whole processes run once
    for the sake of the page cache.
    """
    engines = list(steps)
    for engine in engines:
        whole = [step for step in STEPS if step != "inside" and step in steps[engine]]
        if whole:
            yield Turn(WARM_UP, whole[0], engine)
    for number in range(1, rounds + 1):
        shift = (number - 1) % len(engines)
        for step in STEPS:
            for engine in engines[shift:] + engines[:shift]:
                if step in steps[engine]:
                    yield Turn(number, step, engine)


def rate_between(times: Sequence[float], rows: int = 1) -> float:
    """Return the tokens a second after the first step of `rows` tokens, given the time of each, in seconds.

    The first step also read the prompt, so it does not count.
    """
    return (len(times) - rows) / (times[-1] - times[rows - 1])
