"""The state that a run resumes from exactly: one file, for any number of processes, without code in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpt2cli.checkpoint.formats.safetensors import read_safetensors, write_safetensors
from gpt2cli.errors import CheckpointError
from gpt2cli.training.step.trainer import Trainer

WEIGHT, OPTIMIZER = "weight:", "optimizer:"


@dataclass
class Progress:
    """How far a run has come; -1 means before the first evaluation.

    `seconds` are counted if the run's time is limited.
    """

    step: int = 0
    evaluated_step: int = -1
    best_step: int = -1
    best_loss: float = float("inf")
    evaluations_since_best: int = 0
    seconds: float = 0.0


def save_state(path: Path, trainer: Trainer, progress: Progress) -> None:
    """Write a trainer's state, completely or not at all.

    Raises:
        OSError: the file cannot be written or the disk is full.
    """
    tensors = {WEIGHT + name: weight for name, weight in trainer.trainable.items()}
    tensors |= {OPTIMIZER + name: value for name, value in trainer.optimizers.state().items()}
    write_safetensors(path, to_arrays(tensors), {"progress": json.dumps(asdict(progress))})


def restore_state(path: Path, trainer: Trainer) -> Progress:
    """Restore a trainer's saved state, and return how far the run had come.

    Raises:
        CheckpointError: the file is damaged, or belongs to another model.
    """
    progress = Progress(**json.loads(_metadata(path).get("progress", "{}")))
    tensors = read_tensors(path)
    with torch.no_grad():
        for name, weight in trainer.trainable.items():
            if WEIGHT + name not in tensors or tensors[WEIGHT + name].shape != weight.shape:
                raise CheckpointError(f"{path} belongs to another model: {name} does not fit.")
            weight.copy_(tensors[WEIGHT + name])
    trainer.optimizers.restore(
        {
            name.removeprefix(OPTIMIZER): tensor.to(trainer.device)
            for name, tensor in tensors.items()
            if name.startswith(OPTIMIZER)
        }
    )
    trainer.step = progress.step
    return progress


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return copies of the tensors of a safetensors file, aligned in memory.

    Raises:
        CheckpointError: the file is unreadable or damaged.
    """
    return {name: torch.from_numpy(stored.array).clone() for name, stored in read_safetensors(path).items()}


def to_arrays(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Return tensors on any device as arrays."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged.", "Start the run anew with `force`.") from error
