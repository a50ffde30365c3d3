"""Many texts in one run of `gpt2 score`, each from a line."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from gpt2cli.cli.answering.options import Lines
from gpt2cli.cli.answering.run import LineRun, open_cluster
from gpt2cli.cli.input.text import STDIN
from gpt2cli.cli.options.scoring import ProtocolOptions
from gpt2cli.cli.options.shared import ComputeOptions, ModelOptions
from gpt2cli.cli.output.messages import Messages
from gpt2cli.scoring.settings import ScoringSettings
from gpt2cli.serving.lines import model_facts
from gpt2cli.serving.score_lines import ScoreLines


def score_lines(
    lines: Lines,
    model: ModelOptions,
    scoring: ProtocolOptions,
    output: Path | None,
    compute: ComputeOptions,
    messages: Messages,
) -> None:
    """Score the text, or the continuation, of each line.

    Raises:
        Exit: a line failed.
        UsageError, InputError: as `LineRun` does.
    """
    run = LineRun(lines, lines.jsonl or STDIN, output, messages, 0)
    names = [field.name for field in fields(ScoringSettings)]
    values: dict[str, Any] = {name: getattr(scoring, name) for name in names}
    worker = partial(ScoreLines, settings=ScoringSettings(**values), field=lines.field)
    same = {"command": "score", **{name: values[name] for name in ("special", "bos", "window", "stride")}}
    if lines.cluster:
        files = model.fetch(messages)
        with open_cluster(replace(model, model=model.model or files.name), compute, messages, worker) as (
            cluster,
            facts,
        ):
            run.answer(cluster, facts, same)
        return
    loaded = model.load(compute, messages)
    run.answer(worker(loaded), model_facts(loaded), same)
