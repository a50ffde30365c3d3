"""Writing a model as an ordinary Hugging Face folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.formats.safetensors import Arrays, write_safetensors
from gpt2cli.checkpoint.roles import is_layer_matrix
from gpt2cli.checkpoint.whole_file import whole_file

WEIGHTS_FILE = "model.safetensors"


def save_model(directory: Path, config: ModelConfig, weights: Arrays, files: Mapping[str, str]) -> None:
    """Write config.json, model.safetensors and the other files; weights keep the types of the arrays.

    Raises:
        OSError: the folder cannot be written or is full.
    """
    # Arrays hold the bits of bfloat16, because numpy has no such type.
    dtypes = {str(array.dtype).replace("uint16", "bfloat16") for array in weights.values()}
    save_description(directory, config, files, dtypes.pop() if len(dtypes) == 1 else "float32")
    save_weights(directory / WEIGHTS_FILE, config, weights)


def save_description(
    directory: Path, config: ModelConfig, files: Mapping[str, str], dtype: str = "float32"
) -> None:
    """Write all of a model's files except its weights; `files` are the texts of those beside config.json.

    Raises:
        OSError: the folder cannot be written or is full.
    """
    directory.mkdir(parents=True, exist_ok=True)
    description = json.dumps({**config.to_dict(), "dtype": dtype}, indent=2) + "\n"
    for name, text in {"config.json": description, **files}.items():
        with whole_file(directory / name) as file:
            file.write(text.encode())


def save_weights(path: Path, config: ModelConfig, weights: Arrays) -> None:
    """Write a model's weights under the names that transformers uses.

    Raises:
        OSError: the file cannot be written or the disk is full.
    """
    facts = config.architecture
    named = {
        facts.full_name(name): array.T if facts.out_in and is_layer_matrix(name, array.shape) else array
        for name, array in weights.items()
    }
    write_safetensors(path, named, {"format": "pt"})
