"""The speed of a model, measured for this package and for other engines in one run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

from gpt2cli.benchmark.bandwidth import bytes_per_token
from gpt2cli.benchmark.comparison import Comparison
from gpt2cli.benchmark.conditions import Conditions
from gpt2cli.benchmark.engines import Engine, own_engine
from gpt2cli.benchmark.peers.catalog import find_peers
from gpt2cli.benchmark.report import report_speed, run_facts
from gpt2cli.benchmark.settings import SpeedSettings, with_threads
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
    generate: Callable[[Compute, int], Sequence[str]],
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Measure a model, found under its name, and return the report.

    `compute` is the user's choice, as `gpt2cli.load` takes it. `generate` returns the command line of a
    process that computes in some way and continues the workload's prompt by a number of tokens.

    Raises:
        UsageError: the settings are wrong.
        Error: this package's own process failed.
    """
    settings.check()
    reporter = reporter or Reporter()
    conditions = _conditions(name, loaded, compute, settings)
    own_compute = replace(compute, threads=conditions.threads)
    own = own_engine(conditions, own_compute, lambda tokens: generate(own_compute, tokens))
    with TemporaryDirectory(prefix="gpt2-bench-") as folder, undone_if_killed(partial(rmtree, folder)):
        peers, missing = _find_peers(settings.peers, conditions, Path(folder), reporter)
        comparison = Comparison([own, *peers], settings.rounds, conditions.environment)
        _take_turns(comparison, settings.rounds, reporter)
    sizes = {**conditions.workload.sizes(), "rounds": settings.rounds}
    facts = run_facts(loaded, own_compute, sizes)
    return report_speed(comparison, facts, bytes_per_token(loaded.model), missing | comparison.failures)


def _conditions(name: str, loaded: LoadedModel, compute: Compute, settings: SpeedSettings) -> Conditions:
    ops = loaded.model.ops
    return Conditions(
        model=name,
        files=loaded.files,
        tokenizer=loaded.tokenizer,
        workload=fit_workload(
            loaded.model.config, settings.prompt_tokens, settings.tokens, settings.batch, settings.prompts
        ),
        measures=settings.measures,
        device=ops.device_name,
        dtype=ops.dtype_name,
        threads=with_threads(compute).threads,
        environment=dict(os.environ),
        gguf_files=settings.gguf,
    )


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
