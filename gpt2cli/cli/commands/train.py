"""`gpt2 train`: make a model from text, or fit one to it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from gpt2cli.cli.input.sources import CommandSources
from gpt2cli.cli.input.text import STDIN, require_stdin
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options import training as choose
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.streams import write_stdout
from gpt2cli.cli.output.training import training_display
from gpt2cli.errors import UsageError
from gpt2cli.training.step.place import Place

if TYPE_CHECKING:
    from gpt2cli.training.plan.request import Request
    from gpt2cli.training.run.run_folder import RunFolder
    from gpt2cli.training.run.training_run import TrainingRun

STOPPING = b"\nStopping after this step; Ctrl-C again ends at once.\n"


def train(
    output: choose.Folder,
    texts: choose.Texts = None,
    parent: choose.Parent = None,
    size: choose.Size = None,
    layers: choose.Layers = None,
    heads: choose.Heads = None,
    width: choose.Width = None,
    context: choose.Context = None,
    vocab: choose.Vocab = None,
    tokenizer: choose.TokenizerOf = None,
    document: choose.Document = None,
    field: choose.Field = None,
    valid: choose.Valid = None,
    steps: choose.Steps = None,
    batch_tokens: choose.BatchTokens = None,
    micro_batch: choose.MicroBatch = None,
    learning_rate: choose.LearningRate = None,
    optimizer: choose.Optimizer = None,
    dropout: choose.Dropout = None,
    freeze: choose.Freeze = None,
    lora: choose.Lora = None,
    eval_every: choose.EvalEvery = None,
    patience: choose.Patience = None,
    seed: choose.Seed = None,
    resume: choose.Resume = False,
    force: choose.Force = False,
    dtype: choose.Dtype = None,
    compile_model: choose.Compile = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    color: options.Color = "auto",
    offline: options.Offline = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Make a model from TEXT, or fine-tune one --from another, and print the folder of the best.

    DIR opens with `gpt2 generate -m DIR` and with transformers; DIR/last holds the last model beside the
    best. Ctrl-C saves and stops, and --resume goes on exactly. Behind
    `torchrun --nproc-per-node N --no-python`, N processes share the work.

    `gpt2 train poems.txt --from gpt2 -o poems`

    `gpt2 train books/*.txt --size 5M -o books-5m`

    `gpt2 train --resume -o books-5m`
    """
    from gpt2cli.training.plan.request import Request
    from gpt2cli.training.run.run_folder import RunFolder

    request = Request(
        texts=texts,
        document=document,
        field=field,
        valid=valid,
        parent=parent,
        size=size,
        layers=layers,
        heads=heads,
        width=width,
        context=context,
        vocab=vocab,
        tokenizer=tokenizer,
        steps=steps,
        batch_tokens=batch_tokens,
        micro_batch=micro_batch,
        learning_rate=learning_rate,
        optimizer=optimizer,
        dropout=dropout,
        freeze=freeze,
        lora=lora,
        eval_every=eval_every,
        patience=patience,
        seed=seed,
        dtype=dtype,
    )
    if resume and force:
        raise UsageError("--resume goes on with a run and --force replaces it.", "Give one of them.")
    folder = RunFolder(output)
    if resume:
        folder.require_run()
        # Sums of other threads are rounded otherwise, and the losses would part.
        threads = threads or folder.load_options().get("threads")
    place = Place.of_this_process(device, threads)
    messages = Messages(quiet or place.rank > 0, color=color)
    if place.rank == 0:
        _open_folder(request, folder, place, resume, force, offline, messages)
    else:
        # It only waits for the first process to open the folder, and has nothing to clean up.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _go_on(folder, place, compile_model, messages)
    if place.rank == 0:
        write_stdout(os.fsencode(output) + b"\n")


def _open_folder(
    request: Request,
    folder: RunFolder,
    place: Place,
    resume: bool,
    force: bool,
    offline: bool,
    messages: Messages,
) -> None:
    """Have the folder hold a run that can go on."""
    if resume:
        request.require_same(folder.load_options()["request"])
        return
    request.require_sense()
    folder.require_vacant(force)
    from gpt2cli.training.run.preparation import prepare

    if not request.texts:
        require_stdin("Name a TEXT, or pipe text in.")
        request = replace(request, texts=[STDIN])
    beginning = prepare(request, folder, place, offline, messages, CommandSources())
    from gpt2cli.training.run.training_run import begin_run

    with folder.created():
        begin_run(folder, beginning)


def _go_on(folder: RunFolder, place: Place, compiled: bool, messages: Messages) -> None:
    """Train from where the folder's run is to its end, or until a signal comes."""
    device = place.open().device_name
    from gpt2cli.training.run.training_run import TrainingRun
    from gpt2cli.training.step.data_parallel import join_ranks

    ranks = join_ranks(device, place.rank, place.count)
    try:
        run = TrainingRun(folder, device, ranks, compiled)
        if run.progress.step:
            messages.note(f"Going on after step {run.progress.step:,}")
        with (
            _stop_signals(run, talk=not messages.quiet) as caught,
            training_display(run.settings, run.progress.step, messages) as display,
        ):
            for record in run:
                display.show(record)
    finally:
        ranks.leave()
    step, settings = run.progress.step, run.settings
    if run.outcome == "interrupted":
        messages.note(f"Stopped after step {step:,}; go on with: gpt2 train --resume -o {folder.path}")
        _die_of(caught)
    if run.outcome == "no longer improving":
        messages.note(f"Ended after step {step:,}: {settings.patience} evaluations were no better")
    best, bits = run.progress, run.bits_per_byte(run.progress.best_loss)
    messages.note(f"Best after step {best.best_step:,}: loss {best.best_loss:.4f}, {bits:.4f} bits/byte")


@contextmanager
def _stop_signals(run: TrainingRun, talk: bool) -> Iterator[list[int]]:
    """Have the first Ctrl-C or SIGTERM stop the run after its step; return a list of what came."""
    caught: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        run.stop()
        # torchrun repeats to every process the signal that a terminal has sent to all of them.
        if run.ranks.count == 1:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if talk and sys.stderr is not None:
                os.write(2, STOPPING)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _die_of(caught: list[int]) -> NoReturn:
    if signal.SIGTERM in caught:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    raise KeyboardInterrupt
