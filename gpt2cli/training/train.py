"""Train a model from Python."""

from __future__ import annotations

import inspect
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from gpt2cli.training.run.interruption import stop_signals
from gpt2cli.training.run.opening import open_run
from gpt2cli.training.run.run_request import RunRequest

if TYPE_CHECKING:
    from gpt2cli.training.run.training_run import Outcome, TrainingRun

P = ParamSpec("P")
Value = TypeVar("Value")
Result = TypeVar("Result")


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended; the best loss is on the held-out text, in nats a token, as are its bits per byte."""

    folder: Path
    steps: int
    best_step: int
    best_loss: float
    bits_per_byte: float
    outcome: Outcome


def takes_parts_of(
    kind: Callable[P, Value],
) -> Callable[[Callable[[Value], Result]], Callable[P, Result]]:
    """Have a function of one value take the parameters that make the value."""

    def decorate(function: Callable[[Value], Result]) -> Callable[P, Result]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            return function(kind(*args, **kwargs))

        returned = inspect.signature(function).return_annotation
        call.__signature__ = inspect.signature(kind).replace(return_annotation=returned)  # type: ignore[attr-defined]
        return call

    return decorate


@takes_parts_of(RunRequest)
def train(request: RunRequest) -> TrainingResult:
    """Train a new model on texts, or fine-tune a parent, and return how the run ended.

    What is None is chosen from the texts and the model, as `gpt2 train` does. The first Ctrl-C saves after
    the step and raises; a run with `resume` then continues exactly.

    Args:
        texts: files to train on, or folders and patterns of such: text, JSON lines (.jsonl), tables (.csv,
            .tsv), each of these also as .gz or .zst, or token ids (.npy, .u16, .u32).
        document: "marker" splits files at lines of `<|endoftext|>`, "file" makes each one document.
        field: the field of each JSON object, or the column of a table, that has the text.
        special: parse special tokens in the texts.
        valid: a held-out file in one of the same formats; None holds out the end of the texts.
        parent: the model to fine-tune, by name or path; None trains a new one.
        size: the shape of a new model, named by its number of parameters.
        layers: the number of blocks of a new model.
        heads: attention heads in each block.
        width: the embedding width.
        context: tokens in a window.
        vocab: the vocabulary of a tokenizer made for the texts.
        tokenizer: a model whose tokenizer the new model takes instead.
        steps: optimizer steps.
        epochs: passes over the texts, about; in place of `steps`.
        minutes: the time after which the run ends; if that cuts it short, the rate falls by the clock.
        batch_tokens: tokens in a step, about.
        micro_batch: windows in one pass; the gradients of a step's passes add up.
        learning_rate: the peak, after the warm-up and before the cosine.
        optimizer: "muon" or "adamw".
        dropout: the share of activations to drop, against overfitting.
        freeze: how many of the first blocks stay as they are, with the embeddings.
        lora: the rank of low-rank adapters, which are merged when saved.
        eval_every: steps between evaluations, each of which saves.
        patience: evaluations without a better loss that end the run; 0 never does.
        seed: decides the initial weights, the windows and the dropout.
        dtype: the type to multiply matrices in; the weights are float32.
        output: the folder for the best model and the run.
        resume: continue the run in the folder, with the settings that it has.
        force: replace the run in the folder.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads.
        offline: do not open a connection.
        compile: compile the model first: a slower start, faster steps.
        reporter: receives the plan and the progress of downloads.
        on_record: receives a record after each step and each evaluation.

    Raises:
        UsageError: a value is out of range, values exclude each other, the memory does not suffice, or the
            folder is taken or has no run to resume.
        InputError: a text cannot be read or is too short, or the folder cannot be written.
        HubError: the parent cannot be found or fetched.
        CheckpointError: the parent, or the run to resume, is damaged.
        Error: the loss became infinite or NaN, or another process of the job ended.
        OSError: a checkpoint cannot be written; the one before is whole.
        KeyboardInterrupt: Ctrl-C; the run is saved.
    """
    with open_run(request) as run, stop_signals(run, _stopping_signals()):
        for record in run:
            if request.on_record and run.ranks.is_first:
                request.on_record(record)
    if run.outcome == "interrupted":
        raise KeyboardInterrupt
    return _result(run)


def _stopping_signals() -> list[int]:
    """Return SIGINT if it would raise KeyboardInterrupt here: Python does so on the main thread alone."""
    on_main_thread = threading.current_thread() is threading.main_thread()
    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return [signal.SIGINT] if on_main_thread and raises else []


def _result(run: TrainingRun) -> TrainingResult:
    assert run.outcome is not None
    best = run.progress
    bits = run.bits_per_byte(best.best_loss)
    return TrainingResult(run.folder.path, best.step, best.best_step, best.best_loss, bits, run.outcome)
