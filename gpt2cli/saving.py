"""A model written as an ordinary Hugging Face folder, and files that appear whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from gpt2cli.config import ModelConfig
from gpt2cli.text.tokenizer import END_OF_TEXT

Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]

TOKENIZER_CONFIG = {
    "tokenizer_class": "GPT2Tokenizer",
    "bos_token": END_OF_TEXT,
    "eos_token": END_OF_TEXT,
    "unk_token": END_OF_TEXT,
    "add_prefix_space": False,
}
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
STORED_NAMES = {"float32": "F32", "float16": "F16", "float64": "F64"}
# Tensors begin on a cache line, so that mapped weights are used without a copy.
ALIGNMENT = 64


def save_model(directory: Path, config: ModelConfig, weights: Arrays, tokenizer_json: str) -> None:
    """Write config.json, model.safetensors and the tokenizer; numbers keep the type that the arrays have.

    Raises:
        OSError: the folder cannot be written or is full.
    """
    dtypes = {str(array.dtype) for array in weights.values()}
    save_description(directory, config, tokenizer_json, dtypes.pop() if len(dtypes) == 1 else "float32")
    save_weights(directory / WEIGHTS_FILE, weights)


def save_description(
    directory: Path, config: ModelConfig, tokenizer_json: str, dtype: str = "float32"
) -> None:
    """Write all of a model but its weights.

    Raises:
        OSError: the folder cannot be written or is full.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _write_json(directory / "config.json", {**config.to_dict(), "dtype": dtype})
    _write_json(directory / "tokenizer_config.json", TOKENIZER_CONFIG)
    with whole_file(directory / TOKENIZER_FILE) as file:
        file.write(tokenizer_json.encode())


def save_weights(path: Path, weights: Arrays) -> None:
    """Write a model's weights under the names that transformers uses.

    Raises:
        OSError: the file cannot be written or the disk is full.
    """
    named = {_file_name(name): array for name, array in weights.items()}
    write_safetensors(path, named, {"format": "pt"})


def write_safetensors(path: Path, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Write arrays one after the other, without holding a second copy of any.

    Raises:
        OSError: the file cannot be written or the disk is full.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, array in arrays.items():
        end = offset + array.nbytes
        header[name] = {
            "dtype": STORED_NAMES[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    described = json.dumps(header).encode()
    described += b" " * (-(8 + len(described)) % ALIGNMENT)
    with whole_file(path) as file:
        file.write(len(described).to_bytes(8, "little") + described)
        for array in arrays.values():
            file.write(np.require(array, requirements=["C"]).data)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its name only when the block ends well and the disk has all of it.

    Raises:
        OSError: it cannot be written or the disk is full; the error names the file.
    """
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        aside.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # Until then the new name may be lost with the power.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _file_name(name: str) -> str:
    return name if name.startswith("lm_head.") else f"transformer.{name}"


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    with whole_file(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())
