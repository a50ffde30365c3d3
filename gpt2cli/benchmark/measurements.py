"""Measures, the order in which they are taken, and their values over several rounds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Step = Literal["first_token", "peak_memory", "inside", "many", "serving", "cluster"]
# What is measured on whole processes.
WHOLE: tuple[Step, ...] = ("first_token", "peak_memory")
# And otherwise: inside one that has loaded the model, with one prompt and with many; by a client of whole
# programs; on a cluster.
STEPS: tuple[Step, ...] = (*WHOLE, "inside", "many", "serving", "cluster")
WARM_UP = 0


@dataclass(frozen=True)
class Measure:
    """A quantity to measure, and its unit; the title names settings in braces.

    `step` is the kind of process that it is measured in. One that is not `usual` is taken only by its name.
    `extra` is that of this package which it needs.
    """

    name: str
    title: str
    unit: str = "tokens/s"
    step: Step = "inside"
    usual: bool = True
    extra: str = ""


# The libraries of each extra.
EXTRAS = {"serve": ("prometheus_client", "starlette", "uvicorn"), "ray": ("ray",)}


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("first_token", "first token", "s", "first_token"),
        Measure("prefill", "prefill of {prompt_tokens}"),
        Measure("decode", "decode of {tokens}"),
        Measure("batch", "batch of {batch}"),
        Measure("prompts", "{prompts:,} prompts", step="many"),
        Measure("shared", "{prompts:,} shared prompts", step="many", usual=False),
        Measure("unshared", "{prompts:,} unshared prompts", step="many", usual=False),
        Measure("jsonl", "{prompts:,} JSON lines", step="serving", usual=False),
        Measure("server", "{clients:,} HTTP clients", step="serving", usual=False, extra="serve"),
        Measure("gap", "longest gap", "x median", "serving", usual=False, extra="serve"),
        Measure("worker", "1 Ray worker", step="cluster", usual=False, extra="ray"),
        Measure("cluster", "{threads} Ray workers", step="cluster", usual=False, extra="ray"),
        Measure("score", "score"),
        Measure("tokenize", "tokenize", "MB/s"),
        Measure("peak_memory", "peak memory", "MB", "peak_memory"),
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
        whole = [step for step in WHOLE if step in steps[engine]]
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
