"""`gpt2 generate`: continue a prompt."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from gpt2cli.cli.answering.options import LineField, LineOptions
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.prompt import PromptOptions
from gpt2cli.cli.options.sampling import CompletionOptions, GenerationConfig
from gpt2cli.cli.output.file_formats import FileFormat, file_format
from gpt2cli.cli.output.progress.stopwatch import Stopwatch
from gpt2cli.errors import UsageError

if TYPE_CHECKING:
    from gpt2cli.cli.output.inspection.trace_file import TraceFile
    from gpt2cli.generation.continuation import Continuation
    from gpt2cli.serving.remote.continuation import RemoteContinuation


@takes_groups
def generate(
    *,
    prompt: PromptOptions,
    model: options.ModelOptions,
    completion: CompletionOptions,
    generation_config: GenerationConfig = False,
    lines: LineOptions,
    field: LineField = None,
    json: options.JsonLines = False,
    output: options.OutputOptions,
    records: options.RecordOptions,
    compute: options.DecodingOptions,
    verbosity: options.MessageOptions,
    context: typer.Context,
) -> None:
    """Continue a PROMPT, printing text as it is generated.

    Without PROMPT or --file, the prompt is read from stdin. `--json` prints index, text, token_ids,
    finish_reason, usage, seed, settings, timing and more for each sample: a record that `gpt2 replay` can
    run again.

    `gpt2 generate "Once upon a time" -n 200 --seed 7`

    `cat notes | gpt2 generate -m gpt2-large --stop "The end"`
    """
    json = _check_files(output.output, records) in ("json", "jsonl") or json
    watch = Stopwatch()
    messages = verbosity.messages(output.color, watch)
    if (answered := lines.with_field(field)).are_wanted(prompt.given(), output.output):
        from gpt2cli.cli.answering.completions import generate_lines

        given = prompt, model, completion, generation_config, output, compute
        generate_lines(answered, *given, messages, context)
        return
    if completion.logprobs is not None and not (json or records.record):
        raise UsageError("--logprobs needs --json.")
    for note in completion.notes():
        messages.note(note)
    text = prompt.read(messages)
    watch.lap("prompt")
    # A server does not say how it draws.
    loaded = (model.load if records.trace else model.open)(compute, messages, for_decoding=True)
    if loaded.files.generation or generation_config:
        from gpt2cli.cli.options.model_defaults import complete

        completion = complete(
            completion, generation_config, loaded.files.name, loaded.model_defaults, context, messages
        )
    from gpt2cli.cli.output.completions import JsonCompletionWriter, open_completions, write_samples

    prompt.check(text, completion.special, loaded.tokenizer, messages)
    run = loaded.continuation(text, completion, *completion.sizes)
    run.open()
    traced = _open_trace(records.trace, run)
    if run.prompt.truncated:
        messages.note(f"The prompt was cut to {len(run.prompt.ids):,} tokens.")
    watch.lap("encode")
    echoed = (text or "") if prompt.echo else ""
    told = completion.report() | {"unconditional": prompt.unconditional, "echo": prompt.echo}

    @cache
    def report() -> dict[str, Any]:
        # Files are hashed for it, which must not hold up the text.
        return run.record(told)

    to_json = partial(
        JsonCompletionWriter,
        echoed=echoed,
        report=report,
        phases=watch.seconds,
        logprobs=completion.logprobs is not None,
    )
    opened = open_completions(output, records.record, to_json, json, completion.num_samples, echoed)
    with opened as writer:
        write_samples(run, writer, messages, watch)
    if traced:
        traced.write()


def _check_files(output: Path | None, records: options.RecordOptions) -> FileFormat | None:
    file_format(records.trace, ("html", "jsonl"), "--trace")
    file_format(records.record, ("json", "jsonl"))
    if records.record is not None and records.record == output:
        raise UsageError("--record and -o name the same file.", "Choose one.")
    return file_format(output, ("text", "markdown", "json", "jsonl"))


def _open_trace(path: Path | None, run: Continuation | RemoteContinuation) -> TraceFile | None:
    if path is None:
        return None
    from gpt2cli.cli.output.inspection.trace_file import TraceFile

    return TraceFile(path, cast("Continuation", run))
