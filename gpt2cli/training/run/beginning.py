"""The beginning of a run: what it trains, and the files that hold it before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.formats.safetensors import write_safetensors
from gpt2cli.checkpoint.saving import save_description
from gpt2cli.training.data.documents import Ids
from gpt2cli.training.plan.settings import TrainingSettings
from gpt2cli.training.run.run_folder import RunFolder
from gpt2cli.training.run.state import Progress, save_state, to_arrays
from gpt2cli.training.step.trainer import Trainer


@dataclass(frozen=True)
class Beginning:
    """The start of a run; `options` are kept in its folder for resuming, `files` go beside config.json."""

    config: ModelConfig
    weights: Mapping[str, Tensor]
    files: Mapping[str, str]
    train: Ids
    valid: Ids
    settings: TrainingSettings
    options: Mapping[str, Any]


def begin_run(folder: RunFolder, beginning: Beginning) -> None:
    """Write all the files that `TrainingRun` opens, as of before the first step.

    Raises:
        InputError: the disk has no room for the checkpoints.
        OSError: the folder cannot be written.
    """
    trainer = Trainer(beginning.config, beginning.weights, beginning.settings)
    folder.require_space(_space_needed(trainer, beginning))
    folder.save_ids(beginning.train, beginning.valid)
    folder.save_options({"settings": asdict(beginning.settings), **beginning.options})
    save_description(folder.path, beginning.config, beginning.files)
    write_safetensors(folder.frozen, to_arrays(trainer.frozen), {})
    save_state(folder.state, trainer, Progress())


def _space_needed(trainer: Trainer, beginning: Beginning) -> int:
    """Return the bytes of the best model, the last one, the state, and a second copy of the largest."""
    sizes = [weight.nbytes for weight in beginning.weights.values()]
    trained = sum(weight.nbytes for weight in trainer.trainable.values())
    state = 3 * trained
    frozen = sum(weight.nbytes for weight in trainer.frozen.values())
    ids = beginning.train.nbytes + beginning.valid.nbytes
    return 2 * sum(sizes) + state + frozen + ids + max(state, sum(sizes))
