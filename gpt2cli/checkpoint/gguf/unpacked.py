"""What takes time to read from a GGUF file, kept in a folder: its config, tokenizer and tensors' places."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.gguf.header import TensorEntry
from gpt2cli.checkpoint.gguf.mapping import map_tensors
from gpt2cli.checkpoint.gguf.quantized import dequantized
from gpt2cli.checkpoint.gguf.tensor_types import BY_NAME
from gpt2cli.ops.operations import StoredTensor

CONFIG, TOKENIZER, TENSORS = "config.json", "tokenizer.json", "tensors.json"
# The checksums of the others, and the states in which these were last compared.
SUMS = "sums.json"


def is_unpacked(folder: Path) -> bool:
    """Return whether a folder keeps what `unpack` wrote, as it was written."""
    try:
        kept = json.loads((folder / SUMS).read_bytes())
        if kept["states"] == _states(folder):
            return True
        if kept["sums"] != _sums(folder):
            return False
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    # Without it, the next start compares again.
    with suppress(OSError):
        _write_sums(folder)
    return True


def unpack(path: Path, folder: Path) -> None:
    """Write the config, the tokenizer and the places of the tensors of a GGUF file into a new folder.

    Raises:
        CheckpointError: the file is damaged, or something in it is not supported.
        OSError: the folder cannot be written.
    """
    # Only the first start needs these.
    from shutil import rmtree

    from gpt2cli.checkpoint.ending_signals import undone_if_killed
    from gpt2cli.checkpoint.gguf.contents import read_contents

    config, tokenizer, tensors = read_contents(path)
    # Another process may be unpacking the same file.
    aside = folder.with_name(f"{folder.name}.{os.getpid()}")
    with undone_if_killed(lambda: rmtree(aside, ignore_errors=True)):
        try:
            aside.mkdir(parents=True, exist_ok=True)
            (aside / CONFIG).write_text(json.dumps(config.to_dict(), indent=2), "utf-8")
            (aside / TOKENIZER).write_text(tokenizer, "utf-8")
            places = {name: _place(entry) for name, entry in tensors.items()}
            (aside / TENSORS).write_text(json.dumps(places))
            _write_sums(aside)
            if not is_unpacked(folder):
                # It may be there, but damaged.
                rmtree(folder, ignore_errors=True)
                aside.rename(folder)
        except OSError:
            if not is_unpacked(folder):
                raise
        finally:
            rmtree(aside, ignore_errors=True)


def map_unpacked(
    path: Path, folder: Path, config: ModelConfig, dequantize: bool = False
) -> dict[str, StoredTensor]:
    """Map the tensors of an unpacked GGUF file, by canonical name; make float32 of quantized ones on request.

    Raises:
        CheckpointError: the file is damaged, or something in it is not supported.
        Error: something is to be dequantized, and the gguf package is not installed.
    """
    try:
        places: Mapping[str, Any] = json.loads((folder / TENSORS).read_bytes())
        tensors = {
            name: TensorEntry(BY_NAME[kind], tuple(shape), begin, end)
            for name, (kind, shape, begin, end) in places.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        from gpt2cli.checkpoint.gguf.contents import read_contents

        # Read from the file again, which only takes longer.
        tensors = dict(read_contents(path).tensors)
    mapped = map_tensors(path, config, tensors)
    return dequantized(mapped) if dequantize else mapped


def _write_sums(folder: Path) -> None:
    (folder / SUMS).write_text(json.dumps({"sums": _sums(folder), "states": _states(folder)}))


def _sums(folder: Path) -> list[int]:
    return [zlib.crc32((folder / name).read_bytes()) for name in (CONFIG, TOKENIZER, TENSORS)]


def _states(folder: Path) -> list[list[int]]:
    """Return what the system changes with every change of a file, even one that puts its old time back."""
    found = [(folder / name).stat() for name in (CONFIG, TOKENIZER, TENSORS)]
    return [[status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns] for status in found]


def _place(entry: TensorEntry) -> tuple[str, tuple[int, ...], int, int]:
    return entry.kind.name, entry.shape, entry.begin, entry.end
