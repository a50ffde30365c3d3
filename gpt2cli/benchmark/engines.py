"""Engines: what runs GPT-2, as the command lines of the processes that are measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from gpt2cli import __version__
from gpt2cli.benchmark.conditions import Conditions
from gpt2cli.benchmark.measurements import MEASURES, STEPS, Step
from gpt2cli.benchmark.workload import PROMPT, Workload
from gpt2cli.ops.compute import Compute

OWN_NAME = "gpt2cli"
# Returns the command line that takes the measures of these names.
Command: TypeAlias = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True)
class Engine:
    """An engine with the command line of each step that it can take.

    `precision` is the number type that it computes in. `read` turns what the step `inside` printed into
    measures; other steps print them as JSON.
    """

    name: str
    version: str | None
    precision: str
    steps: Mapping[Step, Sequence[str]]
    read: Callable[[bytes], Mapping[str, float]] = json.loads


def own_engine(conditions: Conditions, compute: Compute) -> Engine:
    """Return this package as an engine."""
    workload, programs = conditions.workload, conditions.programs
    prompts = {"prompts": str(conditions.prompts), "workload": asdict(workload)}
    model = {"model": conditions.model, "compute": asdict(compute), **prompts}
    started = {
        "lines": programs.lines(workload.clients),
        "serve": programs.serve(workload.clients),
        **prompts,
    }

    def worker(module: str, task: Mapping[str, Any]) -> Command:
        return lambda wanted: worker_command(module, {**task, "measures": wanted})

    commands: dict[Step, Command] = {
        **whole_commands(workload, lambda tokens: [*programs.complete(tokens), PROMPT]),
        "inside": worker("worker", model),
        "many": worker("worker", model),
        "serving": worker("many.worker", started),
        "cluster": worker("many.cluster_worker", model),
    }
    return Engine(
        OWN_NAME, __version__, conditions.dtype, steps_of(conditions.measures, tuple(MEASURES), commands)
    )


def worker_command(module: str, task: Mapping[str, Any]) -> list[str]:
    """Return the command line that runs a worker of this package on a task."""
    return [sys.executable, "-m", f"gpt2cli.benchmark.{module}", json.dumps(task)]


def whole_commands(workload: Workload, generate: Callable[[int], Sequence[str]]) -> dict[Step, Command]:
    """Return the command lines for whole processes, given that of one that generates a number of tokens."""
    return {
        "first_token": lambda _: generate(1),
        "peak_memory": lambda _: generate(workload.tokens + 1),
    }


def steps_of(
    measures: Collection[str], known: Sequence[str], commands: Mapping[Step, Command]
) -> dict[Step, Sequence[str]]:
    """Return a command line for each step with measures that are wanted and that an engine knows."""
    steps: dict[Step, Sequence[str]] = {}
    for step in STEPS:
        wanted = [name for name in known if name in measures and MEASURES[name].step == step]
        if wanted and step in commands:
            steps[step] = commands[step](wanted)
    return steps
