"""The converted weights kept for later starts: where they are, and what each was made from."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from gpt2cli.checkpoint.conversion_place import MODEL, SUFFIX, TYPE, ConversionPlace, stamp_of
from gpt2cli.checkpoint.formats.safetensors_header import read_header, read_metadata
from gpt2cli.errors import CheckpointError, HubError
from gpt2cli.hub.cache import assets_folder, entries
from gpt2cli.hub.checkpoint_files import WEIGHTS

HEADER_BYTES = 1 << 16
SAMPLE_BYTES, MOST_SAMPLES = 128, 2048
# The folders of what was read from GGUF files; the layout is increased whenever their files change.
UNPACKED, UNPACKED_LAYOUT = ".unpacked", "2"
LONGEST_NAME = 80


class ConvertedFile(NamedTuple):
    """A kept file: its size in bytes, the type of its weights, and the path of the model it was made from."""

    path: Path
    size: int
    storage: str
    model: Path


def converted_files() -> list[ConvertedFile]:
    """Return the kept files that are complete, sorted by path."""
    found = []
    for path in entries(assets_folder, f"*{SUFFIX}"):
        try:
            notes, size = read_metadata(path), path.stat().st_size
        # Another process may have just removed it.
        except (CheckpointError, OSError):
            continue
        if notes.keys() >= {MODEL, TYPE}:
            found.append(ConvertedFile(path, size, notes[TYPE], Path(notes[MODEL])))
    return found


def all_kept_files() -> list[Path]:
    """Return every file and folder that a conversion left, including interrupted ones."""
    found = entries(assets_folder, "*")
    # A stamp goes with its file.
    stamps = {stamp_of(path) for path in found}
    return [path for path in found if path not in stamps]


def conversion_place(weights: Sequence[Path]) -> ConversionPlace:
    """Return where the conversions of a checkpoint with these weights files are kept.

    Raises:
        OSError: a file is missing.
    """
    model = _model_path(weights)
    places = "\0".join(str(path.absolute()) for path in weights)
    name = f"{_readable_name(model)}-{_checksum(places)}"
    try:
        folder, problem = assets_folder(), ""
    except HubError as error:
        folder, problem = None, error.message.rstrip(".")
    return ConversionPlace(folder, name, _identity(weights), model, problem)


def unpacked_folder(gguf: Path) -> Path:
    """Return the folder with what was read from a GGUF file, which is read first if it is new or has changed.

    Raises:
        CheckpointError: the file is damaged, or something in it is not supported.
    """
    from gpt2cli.checkpoint.gguf.unpacked import is_unpacked, unpack

    try:
        place = conversion_place([gguf])
    except OSError as error:
        raise CheckpointError(f"{gguf}: {error.strerror}.") from error
    kept = f"{place.name}-{_checksum(f'{UNPACKED_LAYOUT} {place.source}')}{UNPACKED}"
    folder = place.folder and place.folder / kept
    if folder and is_unpacked(folder):
        return folder
    try:
        if folder:
            unpack(gguf, folder)
            _remove_older(folder, place.name)
            return folder
    except OSError:
        pass
    # Nothing can be kept, so that the next start reads the file again.
    folder = _passing_folder() / gguf.name
    unpack(gguf, folder)
    return folder


def _remove_older(folder: Path, name: str) -> None:
    from glob import escape
    from shutil import rmtree

    for older in folder.parent.glob(f"{escape(name)}-*{UNPACKED}"):
        if older != folder:
            rmtree(older, ignore_errors=True)


def _passing_folder() -> Path:
    """Return a new folder that is removed when the process ends."""
    import atexit
    from shutil import rmtree
    from tempfile import mkdtemp

    folder = Path(mkdtemp(prefix="gpt2-"))
    atexit.register(rmtree, folder, ignore_errors=True)
    return folder


def _model_path(weights: Sequence[Path]) -> Path:
    """Return the path that identifies a checkpoint: its folder, or weights file with an unusual name."""
    first = weights[0].absolute()
    return first if len(weights) == 1 and first.name not in WEIGHTS else first.parent


def _identity(weights: Sequence[Path]) -> str:
    """Return a text that changes with the files: paths, sizes, times, and samples of their bytes."""
    parts = []
    for path in weights:
        # In the cache, the resolved path contains the hash of the content.
        place = path.resolve()
        status = place.stat()
        with place.open("rb") as file:
            sampled = zlib.crc32(file.read(HEADER_BYTES))
            for begin in _sampled_places(path, status.st_size):
                sampled = zlib.crc32(os.pread(file.fileno(), SAMPLE_BYTES, begin), sampled)
        parts.append(f"{place} {status.st_size} {status.st_mtime_ns} {sampled:08x}")
    return "\n".join(parts)


def _sampled_places(path: Path, size: int) -> Iterable[int]:
    """Return where samples begin: around the ends of each tensor and in its middle, or else evenly."""
    if path.suffix != SUFFIX:
        return range(HEADER_BYTES, size, max(SAMPLE_BYTES, size // MOST_SAMPLES))
    entries, start, _ = read_header(path)
    spans = [entry["data_offsets"] for entry in entries.values()]
    # One tensor ends where the next begins.
    places = {
        max(place - SAMPLE_BYTES // 2, 0)
        for begin, end in spans
        for place in (begin, (begin + end) // 2, end)
    }
    return [start + place for place in sorted(places)]


def _checksum(text: str) -> str:
    # hashlib would load OpenSSL, which takes 7 ms and 3 MB at every start.
    return f"{zlib.crc32(os.fsencode(text)):08x}"


def _readable_name(model: Path) -> str:
    # A snapshot in the cache is named after its commit, two levels below its repository.
    name = model.parents[1].name if model.parent.name == "snapshots" else model.name.removesuffix(SUFFIX)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name.removeprefix("models--")).lstrip(".")[:LONGEST_NAME]
