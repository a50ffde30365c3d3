"""`gpt2 train`: train a model on text, or fine-tune one."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from gpt2cli.cli.input.named_sources import CommandSources
from gpt2cli.cli.input.text import STDIN, require_stdin
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.training import TrainingOptions
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.progress.training import show_end, training_display
from gpt2cli.cli.output.streams import write_path
from gpt2cli.training.step.place import process_rank

if TYPE_CHECKING:
    from gpt2cli.cli.output.progress.training import TrainingDisplay
    from gpt2cli.training.run.training_run import Record, TrainingRun

STOPPING = b"\nStopping after this step; Ctrl-C again ends at once.\n"


@takes_groups
def train(request: TrainingOptions, verbosity: options.QuietOptions, color: options.Color = "auto") -> None:
    """Train a new model on TEXT, or fine-tune one with --from.

    The command prints DIR, which has the best model; DIR/last has the newest. `gpt2 generate -m DIR` and
    transformers open both. Ctrl-C saves and stops, and --resume continues exactly. Behind
    `torchrun --nproc-per-node N --no-python`, N processes share the work. Token files need --tokenizer unless
    GPT-2's made them.

    `gpt2 train poems.txt --from gpt2 -o poems`

    `gpt2 train books/*.txt --size 5M -o books-5m`

    `gpt2 train --resume -o books-5m`
    """
    is_first = process_rank() == 0
    messages = Messages(verbosity.quiet or not is_first, color=color)
    request = replace(request, reporter=messages)
    if is_first:
        request = _with_stdin(request)
    else:
        # It only waits for the first process to open the folder, and has nothing to clean up.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from gpt2cli.training.run.interruption import stop_signals
    from gpt2cli.training.run.opening import open_run

    def announce_stop() -> None:
        if not messages.quiet and sys.stderr is not None:
            try:
                os.write(2, STOPPING)
            except OSError:
                # The terminal is gone, or Ctrl-C has ended the reader too. Messages must not end the run.
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    with (
        open_run(request, CommandSources()) as run,
        stop_signals(run, _ending_signals(), announce_stop) as caught,
        training_display(run, messages) as display,
    ):
        for record in run:
            _show(display, record, run)
    show_end(run, messages)
    if run.outcome == "interrupted":
        _die_of(caught)
    if is_first:
        write_path(request.output)


def _show(display: TrainingDisplay, record: Record, run: TrainingRun) -> None:
    """Show a record; if it cannot be written, stop the run, which saves it."""
    try:
        display.show(record)
    except OSError:
        run.stop()


def _with_stdin(request: TrainingOptions) -> TrainingOptions:
    """Return the request, with standard input as its text if it names none.

    Raises:
        UsageError: standard input is a terminal.
    """
    if request.texts or request.resume:
        return request
    require_stdin("Name a TEXT, or pipe text in.")
    return replace(request, texts=[STDIN])


def _ending_signals() -> list[int]:
    """Return the signals that stop a run; nohup has a process ignore that of a closed terminal."""
    signals: list[int] = [signal.SIGINT, signal.SIGTERM]
    # Windows has none.
    hangup = getattr(signal, "SIGHUP", None)
    return signals if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN else [*signals, hangup]


def _die_of(caught: list[int]) -> NoReturn:
    for number in caught:
        if number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
    raise KeyboardInterrupt
