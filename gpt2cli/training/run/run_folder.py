"""The folder of a run: the best model, the last one, and what the run needs to be resumed."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from gpt2cli.checkpoint.companions.generation_config import GENERATION_CONFIG
from gpt2cli.checkpoint.companions.tokenizer_config import TOKENIZER_CONFIG
from gpt2cli.checkpoint.saving import WEIGHTS_FILE
from gpt2cli.checkpoint.whole_file import whole_file
from gpt2cli.errors import CheckpointError, InputError, UsageError
from gpt2cli.training.data.documents import Ids, read_token_file
from gpt2cli.training.run.model_card import is_unedited

# What any tool needs beside config.json and the weights; the last is that of a parent that has one.
COMPANIONS = ("tokenizer.json", TOKENIZER_CONFIG, GENERATION_CONFIG)


CHECKSUM = "checksum"


class RunFolder:
    """The files of a run; those of the best model are at the top, so that any tool opens the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.weights = path / WEIGHTS_FILE
        self.last = path / "last"
        self.log = path / "log.jsonl"
        self.chart = path / "loss.svg"
        self.card = path / "README.md"
        self.resume = path / "resume"
        self.state = self.resume / "state.safetensors"
        self.frozen = self.resume / "frozen.safetensors"
        self.options = self.resume / "options.json"
        self.best = self.resume / "best.safetensors"
        self.train = self.resume / "train.npy"
        self.valid = self.resume / "valid.npy"

    @contextmanager
    def created(self) -> Iterator[None]:
        """Make the folder, without the files of an earlier run; remove it again if the block fails.

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
        """Check that the folder has a run.

        Raises:
            UsageError: it has none.
        """
        if not self.state.is_file():
            raise UsageError(f"{self.path} holds no run to resume.", "Leave out `resume` to begin one.")

    def require_space(self, needed_bytes: int) -> None:
        """Check that the disk has room.

        Raises:
            InputError: it has not.
        """
        free = shutil.disk_usage(self.path).free
        if free < needed_bytes:
            raise InputError(
                f"{self.path}: the checkpoints take {needed_bytes / 1e6:,.0f} MB, "
                f"and {free / 1e6:,.0f} MB are free.",
                "Name a folder on another disk with `output`, or free some space.",
            )

    def companions(self) -> dict[str, str]:
        """Return the texts of the files beside config.json, by name."""
        paths = (self.path / name for name in COMPANIONS)
        return {path.name: path.read_text("utf-8") for path in paths if path.is_file()}

    def save_ids(self, train: Ids, valid: Ids) -> None:
        """Keep the ids, so that a run can be resumed even if its texts change.

        Raises:
            OSError: the disk is full.
        """
        for path, ids in ((self.train, train), (self.valid, valid)):
            with whole_file(path) as file:
                # numpy hides why a write failed, Python does not.
                np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(ids))
                file.write(np.ascontiguousarray(ids).data)

    def load_ids(self) -> tuple[Ids, Ids]:
        """Memory-map the ids to train on and the held-out ones.

        Raises:
            CheckpointError: they are missing or damaged.
        """
        return self._load_ids(self.train), self._load_ids(self.valid)

    def save_options(self, options: Mapping[str, Any]) -> None:
        """Keep the options of the run.

        Raises:
            OSError: the disk is full.
        """
        kept = {**options, CHECKSUM: _checksum(options)}
        with whole_file(self.options) as file:
            file.write((json.dumps(kept, indent=2) + "\n").encode())

    def load_options(self) -> dict[str, Any]:
        """Return what `save_options` kept.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        try:
            options: dict[str, Any] = json.loads(self.options.read_bytes())
            # Earlier versions kept none.
            told = options.pop(CHECKSUM, None)
            is_sound = told in (None, _checksum(options)) and isinstance(options.get("request", {}), dict)
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise self.damaged(self.options) from error
        if not is_sound or not isinstance(options.get("threads"), int | None):
            raise self.damaged(self.options)
        return options

    def damaged(self, path: Path) -> CheckpointError:
        """Return the error for a damaged file that a run needs to be resumed."""
        return CheckpointError(
            f"{path} is damaged, so the run cannot be resumed.",
            f"Its models in {self.path} and {self.last} can be used, and trained on as `parent`.",
        )

    def set_best_aside(self) -> None:
        """Keep the best weights in another file, before others take their place.

        Raises:
            OSError: the disk is full.
        """
        with whole_file(self.best) as file, self.weights.open("rb") as weights:
            shutil.copyfileobj(weights, file)

    def restore_best(self) -> None:
        """Put the best weights back where `set_best_aside` found them."""
        if self.best.is_file():
            self.best.replace(self.weights)

    def require_vacant(self, force: bool) -> None:
        """Check that a run may begin here, in place of another if forced.

        Raises:
            UsageError: the folder is not empty, and force is false.
            InputError: the folder cannot be written.
        """
        try:
            occupied = self.path.is_dir() and any(self.path.iterdir())
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}.") from error
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file, not a folder.", "Name another with `output`.")
        if occupied and not force:
            hint = "`resume` continues its run" if self.state.is_file() else "Name another with `output`"
            raise UsageError(f"{self.path} is not empty.", f"{hint}, or `force` replaces it.")
        nearest = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        if not os.access(nearest, os.W_OK):
            raise InputError(f"{self.path} cannot be written.", "Name another folder with `output`.")

    def _load_ids(self, path: Path) -> Ids:
        try:
            ids = read_token_file(path)
            # Another byte may have become part of an id, which no model has then.
            if ids.dtype not in (np.uint16, np.uint32):
                raise self.damaged(path)
        except InputError as error:
            raise self.damaged(path) from error
        return ids

    def _make(self) -> None:
        try:
            self.resume.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.path}: {error.strerror}.", "Name another folder with `output`."
            ) from error
        self._remove_own_files()
        self.resume.mkdir(exist_ok=True)

    def _remove_own_files(self) -> None:
        """Remove the files of a run and no others."""
        for folder in (self.resume, self.last):
            shutil.rmtree(folder, ignore_errors=True)
        if is_unedited(self.card):
            self.card.unlink()
        for path in (
            self.weights,
            self.log,
            self.chart,
            *(self.path / name for name in ("config.json", *COMPANIONS)),
        ):
            with suppress(OSError):
                path.unlink()


def _checksum(options: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(options, sort_keys=True).encode()):08x}"
