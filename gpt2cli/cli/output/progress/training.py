"""Training progress on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from shlex import quote
from typing import TYPE_CHECKING, Any

from gpt2cli.cli.output.messages import Messages, stderr_console
from gpt2cli.text.printable import visible

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
    """Show the records of a run as lines."""

    def __init__(self, run: TrainingRun, messages: Messages) -> None:
        self._run = run
        self._messages = messages
        self._has_estimated = False

    @property
    def _settings(self) -> TrainingSettings:
        # A limit of time may change how often a run evaluates.
        return self._run.settings

    def show(self, record: Record) -> None:
        """Show one step or one evaluation, and once how long the run will take."""
        from gpt2cli.training.step.trainer import StepRecord

        if isinstance(record, StepRecord):
            self._estimate(record.step)
            self._show_step(record)
        else:
            self._show_evaluation(record)

    def _estimate(self, step: int) -> None:
        left = self._run.expected_steps - step
        if self._run.pace.is_measured and not self._has_estimated and left:
            self._has_estimated = True
            self._print(f"About {duration(self._seconds_left(step))} for the other {left:,} steps")

    def _show_step(self, record: StepRecord) -> None:
        every = max(1, self._settings.evaluate_every // LINES_PER_EVALUATION)
        if record.step % every and record.step != self._run.expected_steps:
            return
        done = f"step {record.step:,}/{self._run.expected_steps:,}"
        left = clock(self._seconds_left(record.step))
        self._print(f"{done}  loss {record.loss:.4f}  {self._speed(record):,.0f} tokens/s  {left} left")

    def _show_evaluation(self, record: EvaluationRecord) -> None:
        best = "  best so far" if record.is_best else ""
        self._print(
            f"held out, step {record.step:,}: loss {record.valid_loss:.4f}  "
            f"perplexity {record.perplexity:,.2f}  {record.bits_per_byte:.4f} bits/byte{best}"
        )
        for line in visible(record.sample).splitlines():
            self._print(f"  | {line}")

    def _print(self, line: str) -> None:
        self._messages.note(line)

    def _speed(self, record: StepRecord) -> float:
        return self._settings.batch_size * self._settings.context / record.seconds

    def _seconds_left(self, step: int) -> float:
        return self._run.pace.seconds_left(self._settings, step)


class BarDisplay(TrainingDisplay):
    """Show steps as a moving bar with the evaluations above it."""

    def __init__(self, run: TrainingRun, messages: Messages, bar: Progress, task: TaskID) -> None:
        super().__init__(run, messages)
        self._bar = bar
        self._task = task
        self._losses: list[float] = []

    def _show_step(self, record: StepRecord) -> None:
        self._losses.append(record.loss)
        self._bar.update(
            self._task,
            completed=record.step,
            total=self._run.expected_steps,
            loss=f"{record.loss:.3f}",
            curve=sparkline(self._losses) if self._bar.console.encoding == "utf-8" else "",
            speed=f"{self._speed(record):,.0f} tokens/s",
            left=clock(self._seconds_left(record.step)),
        )

    def _print(self, line: str) -> None:
        from rich.text import Text

        self._bar.console.print(Text(line, "dim" if line.startswith("  |") else ""))


@contextmanager
def training_display(run: TrainingRun, messages: Messages) -> Iterator[TrainingDisplay]:
    """Yield the display for the records of the block."""
    if not messages.on_terminal:
        yield TrainingDisplay(run, messages)
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
        fields: dict[str, Any] = dict.fromkeys(("loss", "curve", "speed", "left"), "")
        task = bar.add_task("", total=run.expected_steps, completed=run.progress.step, **fields)
        yield BarDisplay(run, messages, bar, task)


def show_end(run: TrainingRun, messages: Messages) -> None:
    """Show how a run ended, which weights its folder holds, and what to run next."""
    best, folder = run.progress, quote(str(run.folder.path))
    step = f"step {best.step:,}"
    if run.outcome == "interrupted":
        messages.note(f"Stopped after {step}; resume with: gpt2 train --resume -o {folder}")
    if run.outcome == "no longer improving":
        messages.note(f"Ended after {step}: no improvement in {run.settings.patience} evaluations")
    if run.outcome == "out of time":
        messages.note(f"Ended after {step}: the {run.settings.minutes:g} minutes are over")
    if run.holds_newest:
        messages.note(f"{folder} holds the weights after {step}, which were not evaluated")
    elif best.best_step >= 0:
        bits = run.bits_per_byte(best.best_loss)
        messages.note(
            f"{folder} holds the best weights, after step {best.best_step:,}: loss {best.best_loss:.4f}, "
            f"{bits:.4f} bits/byte"
        )
    if best.step not in (0, best.best_step) and not run.holds_newest:
        messages.note(f"{quote(str(run.folder.last))} holds the newest weights, after {step}")
    if run.outcome != "interrupted":
        messages.note(f"Try it: gpt2 generate -m {folder} {quote(visible(run.opening_words) or '...')}")


def sparkline(values: list[float]) -> str:
    """Return values as a row of small bars, each the mean of a range."""
    count = min(SPARKS, len(values))
    bounds = [len(values) * number // count for number in range(count + 1)]
    means = [sum(values[start:end]) / (end - start) for start, end in pairwise(bounds)]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(LEVELS[round((mean - low) / span * (len(LEVELS) - 1))] for mean in means)


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits an estimate."""
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{max(2.0, seconds):,.0f} seconds"


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
