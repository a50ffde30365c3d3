"""`gpt2 generate`: continue a prompt."""

from __future__ import annotations

import time
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import typer

from gpt2cli.cli.answering.options import FieldLineOptions
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.prompt import PromptOptions
from gpt2cli.cli.options.sampling import CompletionOptions, GenerationConfig
from gpt2cli.cli.output.file_formats import file_format
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.progress.stopwatch import Stopwatch
from gpt2cli.errors import UsageError

if TYPE_CHECKING:
    from gpt2cli.cli.output.completions import CompletionWriter
    from gpt2cli.generation.continuation import Continuation
    from gpt2cli.serving.remote.continuation import RemoteContinuation


@takes_groups
def generate(
    *,
    prompt: PromptOptions,
    model: options.ModelOptions,
    completion: CompletionOptions,
    generation_config: GenerationConfig = False,
    lines: FieldLineOptions,
    json: options.JsonLines = False,
    record: options.Record = None,
    output: options.OutputOptions,
    trace: options.Trace = None,
    compute: options.ComputeOptions,
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
    named = file_format(output.output, ("text", "markdown", "json", "jsonl"))
    file_format(trace, ("html", "jsonl"), "--trace")
    json = json or named in ("json", "jsonl")
    file_format(record, ("json", "jsonl"))
    if record is not None and record == output.output:
        raise UsageError("--record and -o name the same file.", "Choose one.")
    watch = Stopwatch()
    messages = verbosity.messages(output.color, watch)
    if lines.are_wanted(prompt.given(), output.output):
        from gpt2cli.cli.answering.completions import generate_lines

        given = prompt, model, completion, generation_config, output, compute
        generate_lines(lines, *given, messages, context)
        return
    if completion.logprobs is not None and not (json or record):
        raise UsageError("--logprobs needs --json.")
    for note in completion.notes():
        messages.note(note)
    text = prompt.read(messages)
    watch.lap("prompt")
    loaded = model.open(compute, messages, for_decoding=True)
    if loaded.files.generation or generation_config:
        from gpt2cli.cli.options.model_defaults import complete

        completion = complete(
            completion, generation_config, loaded.files.name, loaded.model_defaults, context, messages
        )
    from gpt2cli.cli.output.completions import JsonCompletionWriter, open_completions
    from gpt2cli.text.reading.notes import TextNotes

    if text is not None:
        notes = TextNotes(messages.note, loaded.tokenizer, completion.special, crlf=prompt.newlines is None)
        notes.check(text, "the prompt")
    run = loaded.continuation(text, completion, completion.num_samples, completion.batch_size)
    if trace:
        from gpt2cli.cli.output.inspection.trace_file import TraceFile

        traced = TraceFile(trace, run)
    if run.prompt.truncated:
        messages.note(f"The prompt was cut to {len(run.prompt.ids):,} tokens.")
    watch.lap("encode")
    echoed = (text or "") if prompt.echo else ""
    told = completion.report() | {"unconditional": prompt.unconditional, "echo": prompt.echo}

    @cache
    def report() -> dict[str, Any]:
        from gpt2cli.generation.record import sample_record

        # Files are hashed for it, which must not hold up the text.
        return sample_record(run, told)

    to_json = partial(
        JsonCompletionWriter,
        echoed=echoed,
        report=report,
        phases=watch.seconds,
        logprobs=completion.logprobs is not None,
    )
    samples = completion.num_samples
    with open_completions(output, record, to_json, json=json, samples=samples, echoed=echoed) as writer:
        _write(run, writer, messages, watch)
    if trace:
        traced.write()


def _write(
    run: Continuation | RemoteContinuation, writer: CompletionWriter, messages: Messages, watch: Stopwatch
) -> None:
    from gpt2cli.generation.pieces import Timing

    prefill_seconds = run.prefill()
    watch.lap("prefill")
    for batch in run.batches():
        start = time.perf_counter()
        for piece in batch:
            writer.add(piece)
            watch.lap("sampling")
        timing = Timing(run.loaded.seconds, prefill_seconds, time.perf_counter() - start)
        writer.end_batch(batch.completions, timing)
        if messages.verbose:
            from gpt2cli.cli.output.timing import generation_summary

            messages.note(generation_summary(run, batch.drawn.values(), timing))
    messages.detail(watch.summary())
