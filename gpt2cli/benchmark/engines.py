"""Engines: what runs GPT-2, as the command lines of the processes that are measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gpt2cli import __version__
from gpt2cli.benchmark.conditions import Conditions
from gpt2cli.benchmark.measurements import MEASURES, Step
from gpt2cli.benchmark.workload import Workload
from gpt2cli.ops.compute import Compute

OWN_NAME = "gpt2cli"


@dataclass(frozen=True)
class Engine:
    """An engine with the command line of each step that it can take.

    `precision` is the number type that it computes in. `read` turns what the step `inside` printed into
    measures.
    """

    name: str
    version: str | None
    precision: str
    steps: Mapping[Step, Sequence[str]]
    read: Callable[[bytes], Mapping[str, float]] = json.loads


def own_engine(conditions: Conditions, compute: Compute, generate: Callable[[int], Sequence[str]]) -> Engine:
    """Return this package as an engine.

    `generate` returns the command line that continues the workload's prompt by a number of tokens.
    """

    def inside(wanted: Sequence[str]) -> list[str]:
        task = {
            "model": conditions.model,
            "compute": asdict(compute),
            "workload": asdict(conditions.workload),
            "measures": wanted,
        }
        return worker_command("worker", task)

    steps = steps_of(conditions.measures, conditions.workload, generate, inside, tuple(MEASURES))
    return Engine(OWN_NAME, __version__, conditions.dtype, steps)


def worker_command(module: str, task: Mapping[str, Any]) -> list[str]:
    """Return the command line that runs a worker of this package on a task."""
    return [sys.executable, "-m", f"gpt2cli.benchmark.{module}", json.dumps(task)]


def steps_of(
    measures: Collection[str],
    workload: Workload,
    generate: Callable[[int], Sequence[str]] | None,
    inside: Callable[[Sequence[str]], Sequence[str]] | None,
    known: Sequence[str],
) -> dict[Step, Sequence[str]]:
    """Return the command lines for the measures that are wanted and that an engine knows.

    `generate` returns that of a whole process that generates a number of tokens, `inside` that of a process
    that takes the other measures.
    """
    wanted = [name for name in known if name in measures]
    steps: dict[Step, Sequence[str]] = {}
    if generate and "first_token" in wanted:
        steps["first_token"] = generate(1)
    if generate and "peak_memory" in wanted:
        steps["peak_memory"] = generate(workload.tokens + 1)
    taken_inside = [name for name in wanted if MEASURES[name].step == "inside"]
    if inside and taken_inside:
        steps["inside"] = inside(taken_inside)
    return steps
