"""Measures, the order in which they are taken, and their values over several rounds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Step = Literal["first_token", "peak_memory", "inside"]
# Two are measured on whole processes, all others inside one that has loaded the model.
STEPS: tuple[Step, ...] = ("first_token", "peak_memory", "inside")
WARM_UP = 0


@dataclass(frozen=True)
class Measure:
    """A quantity to measure, and its unit."""

    name: str
    title: str
    unit: str

    @property
    def step(self) -> Step:
        """The kind of process that it is measured in."""
        return next((step for step in STEPS if step == self.name), "inside")


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("first_token", "first token", "s"),
        Measure("prefill", "prefill", "tokens/s"),
        Measure("decode", "decode", "tokens/s"),
        Measure("batch", "batch", "tokens/s"),
        Measure("prompts", "many prompts", "tokens/s"),
        Measure("shared", "shared prompts", "tokens/s"),
        Measure("score", "score", "tokens/s"),
        Measure("tokenize", "tokenize", "MB/s"),
        Measure("peak_memory", "peak memory", "MB"),
    )
}
# Taken with every `decode`: the memory bandwidth of the machine, and the share of it that decoding reached.
BANDWIDTH = Measure("bandwidth", "memory bandwidth", "GB/s")
REACHED = Measure("bandwidth_fraction", "bandwidth reached", "")


@dataclass(frozen=True)
class Measurement:
    """The values of a measure, one per round."""

    unit: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle value, or the mean of the two in the middle."""
        ordered = sorted(self.values)
        middle = len(ordered) // 2
        return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2

    def to_dict(self) -> dict[str, float | int | str]:
        """Return the median, the range, the number of rounds and the unit, as JSON reports them."""
        return {
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "rounds": len(self.values),
            "unit": self.unit,
        }


class Turn(NamedTuple):
    """One process to run; the results of the round WARM_UP are discarded."""

    round: int
    step: Step
    engine: str


def schedule(rounds: int, steps: Mapping[str, Collection[Step]]) -> Iterator[Turn]:
    """Yield the turns of engines, given the steps that each can take.

    Within a round, the engines take each step in direct succession, so that changes in the machine's speed
    affect all of them. Each round starts with a different engine. Before the first round, one whole process
    of each engine fills the page cache.
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
    """Return tokens per second, given the time of each token in seconds, `rows` tokens per step.

    The first step does not count, because it includes reading the prompt.
    """
    return (len(times) - rows) / (times[-1] - times[rows - 1])
