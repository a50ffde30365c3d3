"""A model written as an ordinary Hugging Face folder, which transformers opens too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpt2cli.config import ModelConfig
from gpt2cli.tokenizer import END_OF_TEXT

TOKENIZER_CONFIG = {
    "tokenizer_class": "GPT2Tokenizer",
    "bos_token": END_OF_TEXT,
    "eos_token": END_OF_TEXT,
    "unk_token": END_OF_TEXT,
    "add_prefix_space": False,
}


def save_model(
    directory: Path,
    config: ModelConfig,
    weights: Mapping[str, np.ndarray[Any, np.dtype[Any]]],
    tokenizer_json: str,
) -> None:
    """Write config.json, model.safetensors and the tokenizer; numbers keep the type that the arrays have.

    Raises:
        OSError: the folder cannot be written or is full.
    """
    from safetensors.numpy import save_file

    directory.mkdir(parents=True, exist_ok=True)
    dtypes = {str(array.dtype) for array in weights.values()}
    settings = {**config.to_dict(), "dtype": dtypes.pop() if len(dtypes) == 1 else "float32"}
    _write_json(directory / "config.json", settings)
    _write_json(directory / "tokenizer_config.json", TOKENIZER_CONFIG)
    _replace(directory / "tokenizer.json", tokenizer_json.encode())
    aside = directory / "model.safetensors.tmp"
    named = {_file_name(name): np.ascontiguousarray(array) for name, array in weights.items()}
    save_file(named, aside, metadata={"format": "pt"})
    # The library lets nobody else read what it writes.
    aside.chmod((directory / "config.json").stat().st_mode)
    aside.replace(directory / "model.safetensors")


def _file_name(name: str) -> str:
    return name if name.startswith("lm_head.") else f"transformer.{name}"


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    _replace(path, (json.dumps(value, indent=2) + "\n").encode())


def _replace(path: Path, data: bytes) -> None:
    aside = path.with_name(f"{path.name}.tmp")
    aside.write_bytes(data)
    aside.replace(path)
