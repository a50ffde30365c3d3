"""The state that a run resumes from exactly: one file, for any number of processes, without code in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from gpt2cli.checkpoint.formats.kept_sums import checksums
from gpt2cli.checkpoint.formats.safetensors import read_safetensors, write_safetensors
from gpt2cli.checkpoint.formats.safetensors_header import read_metadata
from gpt2cli.errors import CheckpointError
from gpt2cli.training.step.trainer import Trainer

WEIGHT, OPTIMIZER = "weight:", "optimizer:"
# The keys of the notes in the file's header.
PROGRESS, SUMS = "progress", "checksums"

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@dataclass
class Progress:
    """How far a run has come; -1 means before the first evaluation.

    `seconds` are counted if the run's time is limited. `fall` is how far the learning rate has fallen, from 0
    to 1, if the time is too short for the plan.
    """

    step: int = 0
    evaluated_step: int = -1
    best_step: int = -1
    best_loss: float = float("inf")
    evaluations_since_best: int = 0
    seconds: float = 0.0
    fall: float | None = None


def save_state(path: Path, trainer: Trainer, progress: Progress) -> None:
    """Write a trainer's state, completely or not at all.

    Raises:
        OSError: the file cannot be written or the disk is full.
    """
    tensors = {WEIGHT + name: weight for name, weight in trainer.trainable.items()}
    tensors |= {OPTIMIZER + name: value for name, value in trainer.optimizers.state().items()}
    arrays, text = to_arrays(tensors), json.dumps(asdict(progress))
    write_safetensors(path, arrays, {PROGRESS: text, SUMS: _sums(arrays, text)})


def restore_state(path: Path, trainer: Trainer) -> Progress:
    """Restore a trainer's saved state, and return how far the run had come.

    Raises:
        CheckpointError: the file is damaged, or belongs to another model.
    """
    notes = read_metadata(path)
    text = notes.get(PROGRESS, "{}")
    tensors = read_tensors(path)
    # Earlier versions kept none.
    if notes.get(SUMS, sums := _sums(to_arrays(tensors), text)) != sums:
        raise CheckpointError(f"{path} is damaged: its numbers are not those that were written.")
    try:
        progress = Progress(**json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: it does not tell how far the run had come.") from error
    with torch.no_grad():
        for name, weight in trainer.trainable.items():
            if WEIGHT + name not in tensors or tensors[WEIGHT + name].shape != weight.shape:
                raise CheckpointError(f"{path} belongs to another model: {name} does not fit.")
            weight.copy_(tensors[WEIGHT + name])
    remembered = {
        name.removeprefix(OPTIMIZER): tensor.to(trainer.device)
        for name, tensor in tensors.items()
        if name.startswith(OPTIMIZER)
    }
    try:
        trainer.optimizers.restore(remembered)
    except (LookupError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: its optimizers are of other weights.") from error
    trainer.step = progress.step
    return progress


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return copies of the tensors of a safetensors file, aligned in memory.

    Raises:
        CheckpointError: the file is unreadable or damaged.
    """
    return {name: torch.from_numpy(stored.array).clone() for name, stored in read_safetensors(path).items()}


def to_arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """Return tensors on any device as arrays."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _sums(arrays: Mapping[str, Array], progress: str) -> str:
    return checksums({**arrays, PROGRESS: np.frombuffer(progress.encode(), np.uint8)})
