"""`gpt2 generate`: continue a prompt."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.prompt import PromptOptions
from gpt2cli.cli.options.sampling import CompletionOptions, GenerationConfig
from gpt2cli.cli.output.file_formats import file_format
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.progress.stopwatch import Stopwatch
from gpt2cli.cli.output.streams import open_output, stdout_is_terminal, wants_color
from gpt2cli.errors import UsageError

if TYPE_CHECKING:
    from gpt2cli.cli.output.completions import CompletionWriter
    from gpt2cli.generation.continuation import Continuation


@takes_groups
def generate(
    *,
    prompt: PromptOptions,
    model: options.ModelOptions,
    completion: CompletionOptions,
    generation_config: GenerationConfig = False,
    json: options.JsonLines = False,
    output: options.OutputOptions,
    compute: options.ComputeOptions,
    verbosity: options.MessageOptions,
    context: typer.Context,
) -> None:
    """Continue a PROMPT, printing text as it is generated.

    Without PROMPT or --file, the prompt is read from stdin. `--json` prints index, text, token_ids,
    finish_reason, usage, seed, settings, timing and more for each sample.

    `gpt2 generate "Once upon a time" -n 200 --seed 7`

    `cat notes | gpt2 generate -m gpt2-large --stop "The end"`
    """
    named = file_format(output.output, ("text", "markdown", "json", "jsonl"))
    json = json or named in ("json", "jsonl")
    watch = Stopwatch()
    messages = verbosity.messages(output.color, watch)
    if completion.logprobs is not None and not json:
        raise UsageError("--logprobs needs --json.")
    for note in completion.notes():
        messages.note(note)
    text = prompt.read(messages)
    watch.lap("prompt")
    loaded = model.load(compute, messages, for_decoding=True)
    if loaded.files.generation or generation_config:
        from gpt2cli.cli.options.model_defaults import complete

        completion = complete(completion, generation_config, loaded.files, context, messages)
    from gpt2cli.cli.output.completions import JsonCompletionWriter, TextCompletionWriter
    from gpt2cli.text.reading.notes import TextNotes

    if text is not None:
        notes = TextNotes(messages.note, loaded.tokenizer, completion.special, crlf=prompt.newlines is None)
        notes.check(text, "the prompt")
    run = loaded.continuation(text, completion, completion.num_samples, completion.batch_size)
    if run.prompt.truncated:
        messages.note(f"The prompt was cut to {len(run.prompt.ids):,} tokens.")
    watch.lap("encode")
    echoed = (text or "") if prompt.echo else ""
    as_list = named == "json" and completion.num_samples > 1
    with open_output(output.output, as_list=as_list, raw=True) as write:
        if json:
            report = run.report(completion.report() | {"unconditional": prompt.unconditional})
            logprobs = completion.logprobs is not None
            writer = JsonCompletionWriter(write, echoed, report, watch.seconds, logprobs=logprobs)
            _write(run, writer, messages, watch)
        else:
            to_stdout = output.output is None
            styled = to_stdout and wants_color(output.color)
            wraps = to_stdout and stdout_is_terminal() and not output.raw
            texts = TextCompletionWriter(write, completion.num_samples, echoed, styled, wraps)
            _write(run, texts, messages, watch)


def _write(run: Continuation, writer: CompletionWriter, messages: Messages, watch: Stopwatch) -> None:
    from gpt2cli.generation.completion import Timing

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
