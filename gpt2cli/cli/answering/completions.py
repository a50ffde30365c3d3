"""Many prompts in one run of `gpt2 generate`."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from typing import Any

import typer

from gpt2cli.cli.answering.options import Lines
from gpt2cli.cli.answering.run import LineRun, OpenWorker, open_cluster
from gpt2cli.cli.options.model_defaults import complete, is_given
from gpt2cli.cli.options.prompt import PromptOptions
from gpt2cli.cli.options.sampling import CompletionOptions
from gpt2cli.cli.options.shared import ComputeOptions, ModelOptions, OutputOptions
from gpt2cli.cli.output.messages import Messages
from gpt2cli.generation.settings import SampleSettings
from gpt2cli.hub.model_files import ModelFiles
from gpt2cli.serving.completion_lines import SAMPLES_AT_ONCE, CompletionLines
from gpt2cli.serving.lines import model_facts


def generate_lines(
    lines: Lines,
    prompt: PromptOptions,
    model: ModelOptions,
    completion: CompletionOptions,
    generation_config: bool,
    output: OutputOptions,
    compute: ComputeOptions,
    messages: Messages,
    context: typer.Context,
) -> None:
    """Continue the prompt of each line.

    Raises:
        Exit: a line failed.
        UsageError, InputError: as `LineRun` does.
    """
    source = prompt.line_source() if lines.jsonl is None else lines.jsonl
    run = LineRun(lines, source, output.output, messages, completion.seed)
    if lines.cluster:
        files = model.fetch(messages)
        completion = _with_defaults(completion, generation_config, files, context, messages)
        worker, settings = _answering(run.seed, prompt.echo, lines.field, completion)
        with open_cluster(replace(model, model=model.model or files.name), compute, messages, worker) as (
            cluster,
            facts,
        ):
            run.answer(cluster, facts, settings)
        return
    loaded = model.load(compute, messages, for_decoding=True)
    completion = _with_defaults(completion, generation_config, loaded.files, context, messages)
    worker, settings = _answering(run.seed, prompt.echo, lines.field, completion)
    run.answer(worker(loaded), model_facts(loaded), settings)


def _with_defaults(
    completion: CompletionOptions, wanted: bool, files: ModelFiles, context: typer.Context, messages: Messages
) -> CompletionOptions:
    if not is_given(context, "batch_size"):
        completion = replace(completion, batch_size=SAMPLES_AT_ONCE)
    if not (files.generation or wanted):
        return completion
    from gpt2cli.generation.model_defaults import ModelDefaults

    defaults = ModelDefaults(files.generation) if files.generation else None
    return complete(completion, wanted, files.name, defaults, context, messages)


def _answering(
    seed: int, echo: bool, field: str | None, completion: CompletionOptions
) -> tuple[OpenWorker, dict[str, Any]]:
    """Return what makes a worker, and what its answers depend on."""
    names = [entry.name for entry in fields(SampleSettings)]
    # The workers of a cluster need nothing of the command line.
    settings = SampleSettings(**{name: getattr(completion, name) for name in names})
    worker = partial(CompletionLines, settings=settings, seed=seed, echo=echo, field=field)
    defaults = {"echo": echo, "num_samples": settings.num_samples, "logprobs": settings.logprobs}
    return worker, {"command": "generate", **completion.report(), **defaults}
