"""Writing a model as an ordinary Hugging Face folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.safetensors import Arrays, write_safetensors
from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.checkpoint.whole_file import whole_file

TOKENIZER_CONFIG = {
    "bos_token": END_OF_TEXT,
    "eos_token": END_OF_TEXT,
    "unk_token": END_OF_TEXT,
    "add_prefix_space": False,
}
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"


def save_model(directory: Path, config: ModelConfig, weights: Arrays, tokenizer_json: str) -> None:
    """Write config.json, model.safetensors and the tokenizer; weights keep the types of the arrays.

    Raises:
        OSError: the folder cannot be written or is full.
    """
    dtypes = {str(array.dtype) for array in weights.values()}
    save_description(directory, config, tokenizer_json, dtypes.pop() if len(dtypes) == 1 else "float32")
    save_weights(directory / WEIGHTS_FILE, config, weights)


def save_description(
    directory: Path, config: ModelConfig, tokenizer_json: str, dtype: str = "float32"
) -> None:
    """Write all of a model's files except its weights.

    Raises:
        OSError: the folder cannot be written or is full.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _write_json(directory / "config.json", {**config.to_dict(), "dtype": dtype})
    tokenizer_class = config.architecture.tokenizer_class
    _write_json(directory / "tokenizer_config.json", {"tokenizer_class": tokenizer_class, **TOKENIZER_CONFIG})
    with whole_file(directory / TOKENIZER_FILE) as file:
        file.write(tokenizer_json.encode())


def save_weights(path: Path, config: ModelConfig, weights: Arrays) -> None:
    """Write a model's weights under the names that transformers uses.

    Raises:
        OSError: the file cannot be written or the disk is full.
    """
    named = {config.architecture.full_name(name): array for name, array in weights.items()}
    write_safetensors(path, named, {"format": "pt"})


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    with whole_file(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())
