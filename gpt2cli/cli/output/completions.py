"""Writing completions as running text, sample after sample, or as JSON objects."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gpt2cli.cli.output.file_formats import EXTENSIONS
from gpt2cli.cli.output.streams import (
    Write,
    json_line,
    open_output,
    stdout_is_terminal,
    terminal_columns,
    wants_color,
)
from gpt2cli.generation.samples.pieces import Timing

if TYPE_CHECKING:
    from gpt2cli.cli.options.shared import OutputOptions
    from gpt2cli.cli.output.messages import Messages
    from gpt2cli.cli.output.progress.stopwatch import Stopwatch
    from gpt2cli.cli.output.terminal.word_wrap import WordWrap
    from gpt2cli.generation.continuation import Continuation
    from gpt2cli.generation.samples.made_sample import MadeSample
    from gpt2cli.generation.samples.pieces import Piece
    from gpt2cli.serving.remote.continuation import RemoteContinuation

BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"


class CompletionWriter(Protocol):
    """A writer for the pieces of all samples as they are generated."""

    def add(self, piece: Piece) -> None:
        """Accept the next piece."""

    def end_batch(self, completions: Mapping[int, MadeSample], timing: Timing) -> None:
        """Accept the completed samples of a batch."""


class TextCompletionWriter:
    """Write samples in order, each with a final newline, streaming the first unfinished one.

    On a terminal, lines are broken between words; elsewhere, text is written unchanged.
    """

    def __init__(self, write: Write, samples: int, prompt: str, color: bool, on_terminal: bool) -> None:
        self._write = write
        self._samples = samples
        self._prompt = prompt
        self._color = color
        self._wrap: WordWrap | None = None
        if on_terminal:
            from gpt2cli.cli.output.terminal.word_wrap import WordWrap

            self._wrap = WordWrap(terminal_columns)
        self._current = -1
        self._waiting: defaultdict[int, list[str]] = defaultdict(list)
        self._finished: set[int] = set()
        self._begin_next()

    def add(self, piece: Piece) -> None:
        """Write a piece now, or keep it until its sample's turn."""
        self._waiting[piece.sample].append(piece.text)
        if piece.finish_reason:
            self._finished.add(piece.sample)
        self._write_current()
        while self._current in self._finished:
            self._print("\n")
            self._begin_next()
            self._write_current()

    def end_batch(self, completions: Mapping[int, MadeSample], timing: Timing) -> None:
        """Do nothing, because every piece has been written."""

    def _begin_next(self) -> None:
        self._current += 1
        if self._current < self._samples:
            if self._samples > 1:
                header = f"=== sample {self._current + 1} of {self._samples} ==="
                self._print(header, DIM)
                self._print("\n")
            self._print(self._prompt, BOLD)

    def _write_current(self) -> None:
        self._print("".join(self._waiting.pop(self._current, ())))

    def _print(self, text: str, style: str = "") -> None:
        if not text:
            return
        style = style if self._color else ""
        if self._wrap:
            text = self._wrap.push(text, style)
        elif style:
            text = f"{style}{text}{PLAIN}"
        if text:
            self._write(text.encode("utf-8"))


class JsonCompletionWriter:
    """Write one JSON object per sample; `echoed` starts its text, `report` returns the shared fields.

    `phases` are the seconds spent in each phase before the first token.
    """

    def __init__(
        self,
        write: Write,
        echoed: str,
        report: Callable[[], Mapping[str, Any]],
        phases: Mapping[str, float],
        *,
        logprobs: bool,
    ) -> None:
        self._write = write
        self._echoed = echoed
        self._logprobs = logprobs
        self._report = report
        self._phases = phases

    def add(self, piece: Piece) -> None:
        """Do nothing until the end of the batch."""

    def end_batch(self, completions: Mapping[int, MadeSample], timing: Timing) -> None:
        """Write one object for each sample of the batch."""
        for sample, completion in completions.items():
            self._write(json_line(self._object(sample, completion, timing)))

    def _object(self, sample: int, completion: MadeSample, timing: Timing) -> dict[str, Any]:
        tokens, report = completion.tokens, self._report()
        return {
            "index": sample + 1,
            "text": self._echoed + completion.text,
            "token_ids": [token.id for token in tokens],
            "finish_reason": completion.finish_reason,
            **report,
            "usage": {**report["usage"], **completion.usage},
            "timing": {
                **{f"{name}_seconds": took for name, took in self._phases.items()},
                **timing._asdict(),
            },
            "mean_logprob": completion.mean_logprob,
            "logprobs": completion.logprobs_table() if tokens and self._logprobs else None,
        }


class CompletionWriters:
    """Write completions in several ways at once."""

    def __init__(self, writers: Sequence[CompletionWriter]) -> None:
        self._writers = writers

    def add(self, piece: Piece) -> None:
        """Pass the next piece to each writer."""
        for writer in self._writers:
            writer.add(piece)

    def end_batch(self, completions: Mapping[int, MadeSample], timing: Timing) -> None:
        """Pass the completed samples of a batch to each writer."""
        for writer in self._writers:
            writer.end_batch(completions, timing)


@contextmanager
def open_completions(
    output: OutputOptions,
    record: Path | None,
    json_writer: Callable[[Write], CompletionWriter],
    json: bool,
    samples: int,
    echoed: str,
) -> Iterator[CompletionWriter]:
    """Yield a writer of samples as JSON or text, which writes JSON into the file `record` besides.

    `json_writer` makes a writer of JSON; `echoed` starts each text.
    """
    with ExitStack() as opened:

        def opening(path: Path | None) -> Write:
            as_list = samples > 1 and path is not None and path.suffix.lower() in EXTENSIONS["json"]
            return opened.enter_context(open_output(path, as_list=as_list, raw=True))

        if json:
            writer = json_writer(opening(output.output))
        else:
            to_stdout = output.output is None
            styled = to_stdout and wants_color(output.color)
            wraps = to_stdout and stdout_is_terminal() and not output.raw
            writer = TextCompletionWriter(opening(output.output), samples, echoed, styled, wraps)
        yield CompletionWriters([writer, *([] if record is None else [json_writer(opening(record))])])


def write_samples(
    run: Continuation | RemoteContinuation, writer: CompletionWriter, messages: Messages, watch: Stopwatch
) -> None:
    """Make all samples of a run and write them as they grow, with details on stderr."""
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
