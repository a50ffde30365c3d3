"""Training progress on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

from gpt2cli.cli.output.messages import Messages, stderr_console
from gpt2cli.text.printable import replaced

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from gpt2cli.training.plan.settings import TrainingSettings
    from gpt2cli.training.run.evaluation import EvaluationRecord
    from gpt2cli.training.run.training_run import Record, TrainingRun
    from gpt2cli.training.step.trainer import StepRecord

LEVELS = "▁▂▃▄▅▆▇█"
SPARKS = 12
LINES_PER_EVALUATION = 4


class TrainingDisplay:
    """Show the records of a run as lines; `first` is the number of steps already taken."""

    def __init__(self, settings: TrainingSettings, first: int, messages: Messages) -> None:
        self._settings = settings
        self._first = first
        self._messages = messages
        self._start = time.monotonic()
        self._every = max(1, settings.evaluate_every // LINES_PER_EVALUATION)

    def show(self, record: Record) -> None:
        """Show one step or one evaluation."""
        from gpt2cli.training.step.trainer import StepRecord

        if isinstance(record, StepRecord):
            self._show_step(record)
        else:
            self._show_evaluation(record)

    def _show_step(self, record: StepRecord) -> None:
        if record.step % self._every and record.step != self._settings.steps:
            return
        done = f"step {record.step:,}/{self._settings.steps:,}"
        left = clock(self._seconds_left(record.step))
        self._print(f"{done}  loss {record.loss:.4f}  {self._speed(record):,.0f} tokens/s  {left} left")

    def _show_evaluation(self, record: EvaluationRecord) -> None:
        best = "  best so far" if record.is_best else ""
        self._print(
            f"held out, step {record.step:,}: loss {record.valid_loss:.4f}  "
            f"perplexity {record.perplexity:,.2f}  {record.bits_per_byte:.4f} bits/byte{best}"
        )
        for line in replaced(record.sample).splitlines():
            self._print(f"  | {line}")

    def _print(self, line: str) -> None:
        self._messages.note(line)

    def _speed(self, record: StepRecord) -> float:
        return self._settings.batch_size * self._settings.context / record.seconds

    def _seconds_left(self, step: int) -> float:
        return (time.monotonic() - self._start) / (step - self._first) * (self._settings.steps - step)


class BarDisplay(TrainingDisplay):
    """Show steps as a moving bar with the evaluations above it."""

    def __init__(
        self, settings: TrainingSettings, first: int, messages: Messages, bar: Progress, task: TaskID
    ) -> None:
        super().__init__(settings, first, messages)
        self._bar = bar
        self._task = task
        self._losses: list[float] = []

    def _show_step(self, record: StepRecord) -> None:
        self._losses.append(record.loss)
        self._bar.update(
            self._task,
            completed=record.step,
            loss=f"{record.loss:.3f}",
            curve=sparkline(self._losses) if self._bar.console.encoding == "utf-8" else "",
            speed=f"{self._speed(record):,.0f} tokens/s",
            left=clock(self._seconds_left(record.step)),
        )

    def _print(self, line: str) -> None:
        from rich.text import Text

        self._bar.console.print(Text(line, "dim" if line.startswith("  |") else ""))


@contextmanager
def training_display(settings: TrainingSettings, first: int, messages: Messages) -> Iterator[TrainingDisplay]:
    """Yield the display for the records of the block."""
    if not messages.on_terminal:
        yield TrainingDisplay(settings, first, messages)
        return
    from rich import progress

    from gpt2cli.cli.output.terminal.reset import cursor_shown_if_killed

    console = stderr_console(messages.color)
    with (
        cursor_shown_if_killed([console]),
        progress.Progress(
            progress.MofNCompleteColumn(),
            progress.BarColumn(None),
            progress.TextColumn("{task.fields[loss]} {task.fields[curve]}"),
            progress.TextColumn("{task.fields[speed]}"),
            progress.TextColumn("{task.fields[left]}"),
            console=console,
            expand=True,
        ) as bar,
    ):
        task = bar.add_task("", total=settings.steps, completed=first, loss="", curve="", speed="", left="")
        yield BarDisplay(settings, first, messages, bar, task)


def show_end(run: TrainingRun, messages: Messages) -> None:
    """Show how a run ended: how to resume it, or the loss of its best model."""
    step, best = run.progress.step, run.progress
    if run.outcome == "interrupted":
        messages.note(f"Stopped after step {step:,}; resume with: gpt2 train --resume -o {run.folder.path}")
        return
    if run.outcome == "no longer improving":
        messages.note(f"Ended after step {step:,}: no improvement in {run.settings.patience} evaluations")
    bits = run.bits_per_byte(best.best_loss)
    messages.note(f"Best after step {best.best_step:,}: loss {best.best_loss:.4f}, {bits:.4f} bits/byte")


def sparkline(values: list[float]) -> str:
    """Return values as a row of small bars, each the mean of a range."""
    count = min(SPARKS, len(values))
    bounds = [len(values) * number // count for number in range(count + 1)]
    means = [sum(values[start:end]) / (end - start) for start, end in pairwise(bounds)]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(LEVELS[round((mean - low) / span * (len(LEVELS) - 1))] for mean in means)


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
