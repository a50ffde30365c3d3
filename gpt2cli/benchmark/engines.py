"""What can be measured: this package, and the processes that its measures are taken in."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gpt2cli import __version__
from gpt2cli.benchmark.measurements import MEASURES, Step
from gpt2cli.benchmark.workload import Workload
from gpt2cli.ops.compute import Compute

OWN_NAME = "gpt2cli"


@dataclass(frozen=True)
class Engine:
    """Hold the command of each step that an engine takes part in; `read` reads what `inside` printed.

    `precision` says in which numbers it computes.
    """

    name: str
    version: str | None
    precision: str
    steps: Mapping[Step, Sequence[str]]
    read: Callable[[bytes], Mapping[str, float]] = json.loads


def own_engine(
    model: str,
    compute: Compute,
    dtype: str,
    workload: Workload,
    measures: Collection[str],
    generate: Callable[[int], Sequence[str]],
) -> Engine:
    """Return this package as a contestant, which computes in `dtype`.

    `generate` returns the command line that makes so many tokens after the workload's prompt.
    """

    def inside(wanted: Sequence[str]) -> list[str]:
        task = {"model": model, "compute": asdict(compute), "workload": asdict(workload)}
        return worker_command("worker", {**task, "measures": wanted})

    return Engine(
        OWN_NAME, __version__, dtype, steps_of(measures, workload, generate, inside, tuple(MEASURES))
    )


def worker_command(module: str, task: Mapping[str, Any]) -> list[str]:
    """Return the command that runs a worker of this package on a task."""
    return [sys.executable, "-m", f"gpt2cli.benchmark.{module}", json.dumps(task)]


def steps_of(
    measures: Collection[str],
    workload: Workload,
    generate: Callable[[int], Sequence[str]] | None,
    inside: Callable[[Sequence[str]], Sequence[str]] | None,
    known: Sequence[str],
) -> dict[Step, Sequence[str]]:
    """Return the commands for the measures that are wanted and known to an engine.

    `generate` makes the command of a whole process, given its tokens, and `inside` that of a process that
    takes the other measures.
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
