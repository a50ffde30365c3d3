"""The folder of a training run: the best model itself, the last one, and what the run needs to go on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from gpt2cli.checkpoint.saving import TOKENIZER_FILE, WEIGHTS_FILE
from gpt2cli.checkpoint.whole_file import whole_file
from gpt2cli.errors import CheckpointError, InputError, UsageError
from gpt2cli.training.data.documents import Ids

DESCRIPTION = ("config.json", "tokenizer_config.json", TOKENIZER_FILE)


class RunFolder:
    """Name the files of a run; the best model's own lie at the top, so that any tool opens the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.weights = path / WEIGHTS_FILE
        self.last = path / "last"
        self.log = path / "log.jsonl"
        self.chart = path / "loss.svg"
        self.resume = path / "resume"
        self.state = self.resume / "state.safetensors"
        self.frozen = self.resume / "frozen.safetensors"
        self.options = self.resume / "options.json"
        self.train = self.resume / "train.npy"
        self.valid = self.resume / "valid.npy"

    @contextmanager
    def created(self) -> Iterator[None]:
        """Make the folder, without a run that it held, and have the block fill it; else nothing of it stays.

        Raises:
            InputError: the folder cannot be made.
        """
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self._make()
            yield
        except BaseException:
            self._remove_own_files()
            for folder in missing:
                with suppress(OSError):
                    folder.rmdir()
            raise

    def require_run(self) -> None:
        """Check that a run can be continued here.

        Raises:
            UsageError: none began here.
        """
        if not self.state.is_file():
            raise UsageError(f"{self.path} holds no run to resume.", "Leave out --resume to begin one.")

    def require_space(self, needed_bytes: int) -> None:
        """Check that the disk has room.

        Raises:
            InputError: it has less.
        """
        free = shutil.disk_usage(self.path).free
        if free < needed_bytes:
            raise InputError(
                f"{self.path}: the checkpoints take {needed_bytes / 1e6:,.0f} MB, "
                f"and {free / 1e6:,.0f} MB are free.",
                "Choose another disk with -o, or free some space.",
            )

    def save_ids(self, train: Ids, valid: Ids) -> None:
        """Keep the ids, so that a run goes on even if its texts change.

        Raises:
            OSError: the disk is full.
        """
        for path, ids in ((self.train, train), (self.valid, valid)):
            with whole_file(path) as file:
                # numpy hides the reason why a write failed, Python does not.
                np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(ids))
                file.write(np.ascontiguousarray(ids).data)

    def load_ids(self) -> tuple[Ids, Ids]:
        """Map the ids to train on and the held-out ones into memory.

        Raises:
            CheckpointError: they are missing or damaged.
        """
        try:
            return np.load(self.train, mmap_mode="r"), np.load(self.valid, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise CheckpointError(f"The token files in {self.resume} are damaged.") from error

    def save_options(self, options: Mapping[str, Any]) -> None:
        """Keep what the run was asked for.

        Raises:
            OSError: the disk is full.
        """
        with whole_file(self.options) as file:
            file.write((json.dumps(options, indent=2) + "\n").encode())

    def load_options(self) -> dict[str, Any]:
        """Return what `save_options` kept.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        try:
            options: dict[str, Any] = json.loads(self.options.read_bytes())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.options} is damaged.", "Start anew with --force.") from error
        return options

    def require_vacant(self, force: bool) -> None:
        """Check that a run may begin here; if forced, in the place of another.

        Raises:
            UsageError: something is there already, and force is false.
            InputError: the folder cannot be written.
        """
        try:
            occupied = self.path.is_dir() and any(self.path.iterdir())
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}.") from error
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file, not a folder.", "Name another with -o.")
        if occupied and not force:
            hint = "--resume continues it" if self.state.is_file() else "Name another with -o"
            raise UsageError(f"{self.path} is not empty.", f"{hint}, or --force replaces the run in it.")
        nearest = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        if not os.access(nearest, os.W_OK):
            raise InputError(f"{self.path} cannot be written.", "Name another folder with -o.")

    def _make(self) -> None:
        try:
            self.resume.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}.", "Name another folder with -o.") from error
        self._remove_own_files()
        self.resume.mkdir(exist_ok=True)

    def _remove_own_files(self) -> None:
        """Remove what a run writes and nothing else that may lie in the folder."""
        for folder in (self.resume, self.last):
            shutil.rmtree(folder, ignore_errors=True)
        for path in (self.weights, self.log, self.chart, *(self.path / name for name in DESCRIPTION)):
            with suppress(OSError):
                path.unlink()
