"""`gpt2 generate`: continue a prompt."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2cli.cli.input.text import read_prompt
from gpt2cli.cli.loading import LoadedModel, load_for_command
from gpt2cli.cli.options import sampling as choose
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.stopwatch import Stopwatch
from gpt2cli.cli.output.streams import open_output, stdout_is_terminal, wants_color
from gpt2cli.errors import UsageError

if TYPE_CHECKING:
    from gpt2cli.cli.output.completions import CompletionWriter
    from gpt2cli.generation.completion import Completion, Timing
    from gpt2cli.generation.engine import GenerationSettings
    from gpt2cli.generation.sampling import Sampler, SequenceBias
    from gpt2cli.text.tokenizer import Tokenizer

# Short enough to be typed again.
CHOSEN_SEED_BYTES = 4
# Bytes of weights below which a second thread gains a tenth on an idle machine, and costs five times
# as long on a busy one, where each product waits for a thread that is not running.
SMALL = 64_000_000
# The parameters that decide a text, beside prompt, seed and model; --json reports them by their names.
REPORTED = (
    *("max_tokens", "stop", "ignore_eos", "truncate", "overflow", "unconditional", "special"),
    *("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty"),
    *("frequency_penalty", "no_repeat_ngram", "bias", "ban"),
)


def generate(
    context: typer.Context,
    prompt: Annotated[
        str | None, typer.Argument(show_default=False, help="The text to continue; - reads stdin.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", metavar="FILE", help="Read the prompt from FILE.")
    ] = None,
    keep_newline: Annotated[
        bool, options.flag("--keep-newline", help="Keep the final line end of FILE or stdin.")
    ] = False,
    unconditional: Annotated[
        bool,
        options.flag("--unconditional", help="Begin from the beginning-of-text token, without a prompt."),
    ] = False,
    special: options.Special = False,
    model: options.Model = None,
    max_tokens: choose.MaxTokens = 128,
    stop: choose.Stop = None,
    ignore_eos: choose.IgnoreEos = False,
    truncate: choose.Truncate = None,
    overflow: choose.Overflow = "stop",
    temperature: choose.Temperature = 0.8,
    top_k: choose.TopK = 40,
    top_p: choose.TopP = 0.95,
    min_p: choose.MinP = 0.0,
    repetition_penalty: choose.RepetitionPenalty = 1.0,
    presence_penalty: choose.PresencePenalty = 0.0,
    frequency_penalty: choose.FrequencyPenalty = 0.0,
    no_repeat_ngram: choose.NoRepeatNgram = 0,
    bias: choose.Bias = None,
    ban: choose.Ban = None,
    seed: choose.Seed = None,
    num_samples: choose.NumSamples = 1,
    batch_size: choose.BatchSize = 8,
    echo: Annotated[bool, options.flag("--echo", help="Print the prompt before its continuation.")] = False,
    json: options.Json = False,
    logprobs: Annotated[
        int | None,
        typer.Option(
            "--logprobs",
            min=0,
            metavar="N",
            show_default="off",
            help="With --json, tell log-probabilities in nats, and the N likeliest tokens at each place.",
        ),
    ] = None,
    output: options.Output = None,
    color: options.Color = "auto",
    device: options.Device = "auto",
    backend: options.Backend = "auto",
    dtype: options.Dtype = "auto",
    quantize: options.Quantize = "none",
    threads: options.Threads = None,
    speculate: choose.Speculate = False,
    offline: options.Offline = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Continue a PROMPT; its text appears as it is made.

    Without PROMPT and --file, the prompt is read from stdin.

    `gpt2 generate "Once upon a time" -n 200 --seed 7`

    `cat notes | gpt2 generate -m gpt2-large --stop "The end"`
    """
    watch = Stopwatch()
    _reject_conflicts(prompt, file, unconditional, stop or [], logprobs, json)
    messages = Messages(quiet, verbose, color)
    text = "" if unconditional else read_prompt(prompt, file, keep_newline, messages.note)
    if not text and not unconditional:
        raise UsageError("The prompt is empty.", "Use --unconditional to begin from nothing.")
    watch.lap("prompt")
    from gpt2cli.ops.backend import open_backend
    from gpt2cli.ops.threads import set_blas_threads, threads_are_chosen

    threads_are_free = threads is None and not threads_are_chosen()
    ops = open_backend(device, backend, dtype, threads, quantize)
    from gpt2cli.generation.engine import GenerationSettings, fit_prompt
    from gpt2cli.generation.sampling import Sampler, SamplingSettings

    sampling = SamplingSettings(
        temperature,
        top_k,
        top_p,
        min_p,
        repetition_penalty,
        presence_penalty,
        frequency_penalty,
        no_repeat_ngram,
    )
    watch.lap("backend")
    loaded = load_for_command(model, ops, offline, messages, watch, screened=True)
    if ops.name == "numpy" and threads_are_free and loaded.files_size < SMALL:
        set_blas_threads(1)
    tokenizer = loaded.tokenizer
    encoded = _beginning(tokenizer) if unconditional else tokenizer.encode(text, special)
    ids, truncated = fit_prompt(encoded, loaded.model.config.n_positions, max_tokens, truncate)
    if truncated:
        messages.note(f"The prompt was cut to {len(ids):,} tokens.")
    run = _Run(
        loaded,
        ids,
        Sampler(
            replace(sampling, biases=_biases(bias or [], ban or [], ignore_eos, tokenizer)),
            int.from_bytes(os.urandom(CHOSEN_SEED_BYTES), "little") if seed is None else seed,
        ),
        GenerationSettings(max_tokens, tokenizer.eos_id, overflow == "slide", logprobs, speculate),
        stop or [],
        num_samples,
        batch_size,
        watch,
    )
    watch.lap("encode")
    from gpt2cli.cli.output.completions import JsonCompletionWriter, TextCompletionWriter

    echoed = text if echo else ""
    with open_output(output) as write:
        if json:
            settings = {name: context.params[name] for name in REPORTED}
            report = run.report(truncated, settings)
            run.complete(JsonCompletionWriter(write, echoed, tokenizer, report, watch.seconds), messages)
        else:
            styled = output is None and wants_color(color)
            on_terminal = output is None and stdout_is_terminal()
            run.complete(TextCompletionWriter(write, num_samples, echoed, styled, on_terminal), messages)


@dataclass(frozen=True)
class _Run:
    loaded: LoadedModel
    ids: Sequence[int]
    sampler: Sampler
    settings: GenerationSettings
    stop: Sequence[str]
    num_samples: int
    batch_size: int
    watch: Stopwatch

    def report(self, truncated: bool, settings: dict[str, Any]) -> dict[str, Any]:
        """Return what --json tells of every sample."""
        ops = self.loaded.model.ops
        where = {"backend": ops.name, "device": ops.device_name, "dtype": ops.dtype_name}
        return {
            "usage": {"prompt_tokens": len(self.ids)},
            "prompt_truncated": truncated,
            "seed": self.sampler.seed,
            "model": self.loaded.files.name,
            "revision": self.loaded.files.revision,
            "settings": {**settings, **where},
        }

    def complete(self, writer: CompletionWriter, messages: Messages) -> None:
        """Make all samples, a batch at a time, on one reading of the prompt."""
        from gpt2cli.generation.completion import Completion, Timing, stream_text
        from gpt2cli.generation.engine import Generation, prefill, top_needed

        model = self.loaded.model
        top = top_needed(self.sampler, self.settings, len(self.ids))
        prompt = prefill(model, self.ids, self.settings.max_tokens, top)
        prefill_seconds = self.watch.lap("prefill")
        for first in range(0, self.num_samples, self.batch_size):
            samples = range(first, min(first + self.batch_size, self.num_samples))
            completions = {sample: Completion(self.loaded.tokenizer, self.stop) for sample in samples}
            generation = Generation(model, prompt, self.sampler, self.settings, samples)
            start = time.perf_counter()
            try:
                for piece in stream_text(generation, completions):
                    writer.add(piece)
                    self.watch.lap("sampling")
            except KeyboardInterrupt:
                writer.interrupt()
                raise
            timing = Timing(self.loaded.seconds, prefill_seconds, time.perf_counter() - start)
            writer.end_batch(completions, timing)
            messages.detail(self._summary(completions.values(), timing))
        messages.detail(self.watch.summary())

    def _summary(self, completions: Collection[Completion], timing: Timing) -> str:
        model, ops = self.loaded.files.name, self.loaded.model.ops
        tokens = sum(len(completion.tokens) for completion in completions)
        return (
            f"{model} on {ops.name} ({ops.device_name}, {ops.dtype_name}), seed {self.sampler.seed}: "
            f"loaded in {timing.load_seconds:.3f} s, read {len(self.ids):,} tokens in "
            f"{timing.prefill_seconds:.3f} s, wrote {tokens:,} in {timing.decode_seconds:.3f} s "
            f"({tokens / timing.decode_seconds:.1f} tokens/s){_drafts_summary(completions)}"
        )


def _drafts_summary(completions: Collection[Completion]) -> str:
    drafts = [completion.drafts for completion in completions if completion.drafts]
    if not drafts:
        return ""
    passes = sum(entry.passes for entry in drafts)
    proposed = sum(entry.proposed for entry in drafts)
    accepted = sum(entry.accepted for entry in drafts)
    rate = f", {1 + accepted / passes:.2f} tokens a pass" if passes else ""
    return f", {accepted:,} of {proposed:,} draft tokens accepted{rate}"


def _reject_conflicts(
    prompt: str | None,
    file: str | None,
    unconditional: bool,
    stop: Sequence[str],
    logprobs: int | None,
    json: bool,
) -> None:
    if unconditional and (prompt is not None or file is not None):
        raise UsageError("--unconditional takes no prompt.")
    if not all(stop):
        raise UsageError("--stop needs a text that is not empty.")
    if logprobs is not None and not json:
        raise UsageError("--logprobs needs --json.")


def _beginning(tokenizer: Tokenizer) -> list[int]:
    if tokenizer.bos_id is None:
        raise UsageError("This model has no beginning-of-text token.", "Give a prompt instead.")
    return [tokenizer.bos_id]


def _biases(
    biases: Sequence[str], bans: Sequence[str], ignore_eos: bool, tokenizer: Tokenizer
) -> tuple[SequenceBias, ...]:
    from gpt2cli.generation.sampling import SequenceBias

    entries = [_parse_bias(entry) for entry in biases] + [(text, -math.inf) for text in bans]
    if not all(text for text, _ in entries):
        raise UsageError("--bias and --ban need a text that is not empty.")
    found = [SequenceBias(tuple(tokenizer.encode(text)), bias) for text, bias in entries]
    if ignore_eos and tokenizer.eos_id is not None:
        found.append(SequenceBias((tokenizer.eos_id,), -math.inf))
    return tuple(found)


def _parse_bias(entry: str) -> tuple[str, float]:
    text, _, number = entry.rpartition("=")
    try:
        bias = float(number)
    except ValueError:
        bias = math.nan
    if not math.isfinite(bias):
        raise UsageError(f"--bias {entry!r} is not TEXT=X.", "X is a number of logits, such as -2.5.")
    return text, bias
