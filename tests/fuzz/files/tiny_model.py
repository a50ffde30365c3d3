"""The small model that files are read with."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

from fuzz.files.model_files import SHAPE
from fuzz.processes import forked
from gpt2cli.local_model import LocalModel, load_local
from gpt2cli.ops.compute import Compute

CPU = Compute(device="cpu", threads=1)


def make_model(folder: Path) -> Path:
    """Make the model in a folder, without PyTorch in this process."""
    from checkpoints import save_model_folder

    forked.call(partial(save_model_folder, folder, **SHAPE))
    return folder


@cache
def load_model(folder: Path) -> LocalModel:
    """Load the model of a folder, once."""
    return load_local(str(folder), CPU, offline=True)
