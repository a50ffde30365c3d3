"""The converted weights that are kept for later starts: where they lie, and what each was made from."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gpt2cli.checkpoint.conversion_place import MODEL, SUFFIX, TYPE, ConversionPlace
from gpt2cli.checkpoint.safetensors_header import read_metadata
from gpt2cli.errors import CheckpointError
from gpt2cli.hub.cache import assets_folder
from gpt2cli.hub.checkpoint_files import WEIGHTS

HEADER_BYTES = 1 << 16
LONGEST_NAME = 80


class ConvertedFile(NamedTuple):
    """Describe a kept file: its bytes, the type it holds, and the path of the model it was made from."""

    path: Path
    size: int
    storage: str
    model: Path


def converted_files() -> list[ConvertedFile]:
    """Return the kept files that are whole, in the order of their names."""
    found = []
    for path in sorted(assets_folder().glob(f"*{SUFFIX}")):
        try:
            notes, size = read_metadata(path), path.stat().st_size
        # Another process may just have removed it.
        except (CheckpointError, OSError):
            continue
        if notes.keys() >= {MODEL, TYPE}:
            found.append(ConvertedFile(path, size, notes[TYPE], Path(notes[MODEL])))
    return found


def all_kept_files() -> list[Path]:
    """Return every file that was left by a conversion, those of interrupted ones too."""
    return sorted(path for path in assets_folder().glob("*") if path.is_file())


def conversion_place(weights: Sequence[Path]) -> ConversionPlace:
    """Return where the conversions of a checkpoint with these files of weights are kept.

    Raises:
        OSError: a file is missing.
    """
    model = _model_path(weights)
    places = "\0".join(str(path.absolute()) for path in weights)
    name = f"{_readable_name(model)}-{_checksum(places)}"
    return ConversionPlace(assets_folder(), name, _identity(weights), model)


def _model_path(weights: Sequence[Path]) -> Path:
    """Return the path by which a checkpoint is found again: its folder, or a file of another name."""
    first = weights[0].absolute()
    return first if len(weights) == 1 and first.name not in WEIGHTS else first.parent


def _identity(weights: Sequence[Path]) -> str:
    """Return what changes with the files: their places, sizes, times, and checksums of their beginnings."""
    parts = []
    for path in weights:
        # In the cache the place is named by the hash of the content.
        place = path.resolve()
        status = place.stat()
        with place.open("rb") as file:
            beginning = file.read(HEADER_BYTES)
        parts.append(f"{place} {status.st_size} {status.st_mtime_ns} {zlib.crc32(beginning):08x}")
    return "\n".join(parts)


def _checksum(text: str) -> str:
    # Loading hashlib, with OpenSSL, takes 7 ms of every start and 3 MB.
    return f"{zlib.crc32(os.fsencode(text)):08x}"


def _readable_name(model: Path) -> str:
    # A snapshot in the cache is named by its commit, two levels below its repository.
    name = model.parents[1].name if model.parent.name == "snapshots" else model.name.removesuffix(SUFFIX)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name.removeprefix("models--")).lstrip(".")[:LONGEST_NAME]
