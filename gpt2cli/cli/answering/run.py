"""Answering many lines: their source, their answers' place, and what a run must remember."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from gpt2cli.checkpoint.ending_signals import undone_if_killed
from gpt2cli.cli.answering.options import Lines
from gpt2cli.cli.input.line_feed import ByteSource, open_feed
from gpt2cli.cli.options.shared import ComputeOptions, ModelOptions
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.progress.lines import LineDone, line_progress
from gpt2cli.cli.output.streams import open_output, stdout_writer
from gpt2cli.generation.continuation import choose_seed
from gpt2cli.model.loading import LoadedModel
from gpt2cli.ops.compute import Compute
from gpt2cli.serving.journal import Answered, check_output, open_journal, require_same
from gpt2cli.serving.lines import Answer, AsTheyFinish, InOrder, LineWorker, answer_lines
from gpt2cli.serving.shard import AUTO

# Makes what answers lines, with a loaded model.
OpenWorker = Callable[[LoadedModel], LineWorker]
Put = Callable[[Answer], object]


class LineRun:
    """A run over lines, which begins before a model is loaded, so that what is wrong is said at once.

    `seed` is the run's: the user's, or that of the run that is resumed, or a random one.

    Raises:
        UsageError: the options, the input or the output do not fit.
        InputError: the input cannot be opened.
    """

    def __init__(
        self, lines: Lines, source: str, output: Path | None, messages: Messages, seed: int | None
    ) -> None:
        self._lines = lines
        self._output = output
        # What runs a cluster may print on stdout, which is kept for the answers.
        self._write = stdout_writer() if output is None else None
        self._messages = messages
        self._shard = lines.part()
        if lines.shard == AUTO:
            messages.note(f"Answering the lines of shard {self._shard}")
        keeps_record = output is not None and (output.is_file() or not output.exists())
        self._journal = output if keeps_record else None
        self._record = check_output(self._journal, lines.resume) if self._journal else None
        self.seed: int = (self._record or {"seed": choose_seed()})["seed"] if seed is None else seed
        self._answered = Answered()
        self._source = ByteSource(source)
        if self._journal:
            before = (self._record or {}).get("input", {}).get("bytes")
            self._same_input = self._source.digest(before)
            has_grown = before is not None and before != self._source.size
            self._input = self._source.digest() if has_grown else self._same_input
        self._feed = open_feed(self._source, lines.field, self._is_wanted)

    def answer(self, worker: LineWorker, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Answer all lines, with a model of these facts; `settings` are what the answers also depend on.

        Raises:
            Exit: a line failed.
            UsageError: the run is not the one that is to be resumed.
            InputError, OSError: the input cannot be read, or an answer not written.
        """
        order = (AsTheyFinish if self._lines.unordered else InOrder)(worker.lines_ahead)
        failed = 0
        with (
            self._opened({**facts, "settings": settings}) as put,
            self._progress() as count,
            undone_if_killed(self._note_stop),
        ):

            def write(answer: Answer) -> None:
                nonlocal failed
                put(answer)
                failed += answer.failed
                if answer.last:
                    count(answer.tokens)

            answer_lines(self._feed, worker, write, order)
        failed += self._answered.invalid
        if failed:
            self._messages.note(f"note: {failed:,} {'line' if failed == 1 else 'lines'} failed")
            raise typer.Exit(1)

    def _note_stop(self) -> None:
        if self._journal:
            self._messages.note(f"Stopped; the same command with --resume goes on with {self._output}")

    def _is_wanted(self, line: int) -> bool:
        return self._shard.has(line) and line not in self._answered.lines

    def _progress(self) -> AbstractContextManager[LineDone]:
        feed, total = self._feed, self._source.total
        return line_progress(self._messages, lambda: feed.bytes_taken, total, self._output is None)

    @contextmanager
    def _opened(self, facts: Mapping[str, Any]) -> Iterator[Put]:
        if self._write:
            write = self._write
            yield lambda answer: write(answer.data)
            return
        if self._journal is None:
            with open_output(self._output) as to_file:
                yield lambda answer: to_file(answer.data)
            return
        own = {"seed": self.seed, "field": self._lines.field, "shard": str(self._shard)}
        if self._record:
            require_same(self._journal, self._record, {**facts, **own, "input": self._same_input})
        facts = {**facts, **own, "input": self._input}
        with open_journal(self._journal, facts, resumed=self._record is not None) as journal:
            self._answered = journal.answered
            if done := len(self._answered.lines):
                self._messages.note(f"{done:,} lines are done; going on with the others")
            yield journal.write


@contextmanager
def open_cluster(
    model: ModelOptions, compute: ComputeOptions, messages: Messages, open_worker: OpenWorker
) -> Iterator[tuple[LineWorker, Mapping[str, Any]]]:
    """Yield the workers of a Ray cluster as one, and the facts of their model.

    Raises:
        Error: as `RayCluster` does.
    """
    from gpt2cli.serving.cluster import RayCluster

    plain = Compute(**asdict(compute))
    with ExitStack() as stack, messages.working("Starting the workers"):
        stack.enter_context(redirect_stdout(stack.enter_context(Path(os.devnull).open("w"))))
        cluster = RayCluster(model.model, plain, model.offline, open_worker, messages.note)
        stack.callback(cluster.close)
        facts = cluster.prepare()
        closing = stack.pop_all()
    messages.detail(f"Ray: {cluster.size:,} workers")
    with closing:
        yield cluster, facts
