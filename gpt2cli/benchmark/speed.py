"""The speed of a model, measured for this package and for other engines in one run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

from gpt2cli.benchmark.bandwidth import bytes_per_token
from gpt2cli.benchmark.comparison import Comparison
from gpt2cli.benchmark.conditions import Conditions
from gpt2cli.benchmark.engines import Engine, own_engine
from gpt2cli.benchmark.many.programs import Programs
from gpt2cli.benchmark.many.prompts import KINDS, write_prompts
from gpt2cli.benchmark.measurements import EXTRAS, MEASURES, WHOLE
from gpt2cli.benchmark.peers.catalog import find_peers
from gpt2cli.benchmark.peers.processes_worker import MOST
from gpt2cli.benchmark.report import report_speed, run_facts
from gpt2cli.benchmark.settings import PROCESSES, SpeedSettings, with_threads
from gpt2cli.benchmark.workload import fit_workload
from gpt2cli.checkpoint.ending_signals import undone_if_killed
from gpt2cli.hub.reporter import Reporter
from gpt2cli.model.loading import LoadedModel
from gpt2cli.ops.compute import Compute


def measure_speed(
    name: str,
    loaded: LoadedModel,
    compute: Compute,
    settings: SpeedSettings,
    programs: Callable[[Compute], Programs],
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Measure a model, found under its name, and return the report.

    `compute` is the user's choice, as `gpt2cli.load` takes it. `programs` returns the command lines of
    processes that compute in some way.

    Raises:
        UsageError: the settings are wrong.
        Error: this package's own process failed.
    """
    settings.check()
    reporter = reporter or Reporter()
    without = _without(settings.measures)
    _note_left_out(without, reporter)
    own_compute = with_threads(compute)
    with TemporaryDirectory(prefix="gpt2-bench-") as place, undone_if_killed(partial(rmtree, place)):
        folder = Path(place)
        taken = replace(settings, only=[name for name in settings.measures if name not in without])
        file = folder / "prompts.json"
        conditions = _conditions(name, loaded, taken, own_compute, programs(own_compute), file)
        own = own_engine(conditions, own_compute)
        peers, missing = _find_peers(settings.peers, conditions, folder, reporter)
        comparison = Comparison([own, *peers], settings.rounds, conditions.environment)
        _take_turns(comparison, settings.rounds, reporter)
    sizes = {**conditions.workload.sizes(), "rounds": settings.rounds}
    if PROCESSES in settings.peers and "prompts" in conditions.measures:
        sizes["processes"] = min(MOST, settings.prompts)
    facts = run_facts(loaded, own_compute, sizes)
    left_out = without | missing | comparison.failures
    return report_speed(comparison, facts, bytes_per_token(loaded.model), left_out)


def _without(measures: Sequence[str]) -> dict[str, str]:
    """Return the measures whose libraries are not installed, and what to do."""
    found = {}
    for name in measures:
        extra = MEASURES[name].extra
        missing = [library for library in EXTRAS[extra] if find_spec(library) is None] if extra else []
        if missing:
            found[name] = f"{' and '.join(missing)} cannot be imported. Run pip install 'gpt2cli[{extra}]'."
    return found


def _conditions(
    name: str,
    loaded: LoadedModel,
    settings: SpeedSettings,
    compute: Compute,
    programs: Programs,
    prompts: Path,
) -> Conditions:
    ops, config = loaded.model.ops, loaded.model.config
    workload = fit_workload(
        config,
        prompt_tokens=settings.prompt_tokens,
        tokens=settings.tokens,
        batch=settings.batch,
        prompts=settings.prompts,
        clients=settings.clients,
    )
    room = workload.context - workload.new_tokens
    write_prompts(prompts, loaded.tokenizer, _kinds(settings.measures), workload.prompts, room)
    return Conditions(
        model=name,
        files=loaded.files,
        tokenizer=loaded.tokenizer,
        workload=workload,
        prompts=prompts,
        programs=programs,
        measures=settings.measures,
        device=ops.device_name,
        dtype=ops.dtype_name,
        threads=compute.threads,
        environment=dict(os.environ),
        gguf_files=settings.gguf,
    )


def _kinds(measures: Sequence[str]) -> set[str]:
    """Return which kinds of prompts the measures need; those that are not of a kind need the usual one."""
    many = [name for name in measures if MEASURES[name].step not in ("inside", *WHOLE)]
    return {name if name in KINDS else "prompts" for name in many}


def _find_peers(
    names: Sequence[str], conditions: Conditions, folder: Path, reporter: Reporter
) -> tuple[list[Engine], dict[str, str]]:
    if not names:
        return [], {}
    with reporter.working("Preparing the other engines"):
        peers, missing = find_peers(names, conditions, folder)
    _note_left_out(missing, reporter)
    return peers, missing


def _take_turns(comparison: Comparison, rounds: int, reporter: Reporter) -> None:
    for turn in comparison.turns():
        title = f"Round {turn.round} of {rounds}" if turn.round else "Warming up"
        reporter.detail(f"{title}: {turn.engine}, {turn.step}")
        with reporter.working(f"{title}: {turn.engine}"):
            comparison.take(turn)
    _note_left_out(comparison.failures, reporter)


def _note_left_out(reasons: Mapping[str, str], reporter: Reporter) -> None:
    for name, reason in reasons.items():
        reporter.note(f"{name} is left out: {reason}")
