"""What generation_config.json says: the ids that end a text, and how its makers sample."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gpt2cli.checkpoint.config import read_json_object
from gpt2cli.errors import CheckpointError

GENERATION_CONFIG = "generation_config.json"


class GenerationConfig(NamedTuple):
    """The content of a generation_config.json; `eos_token_ids` is empty if it names none."""

    values: Mapping[str, Any]
    eos_token_ids: tuple[int, ...]


def read_generation_config(path: Path | None) -> GenerationConfig:
    """Return what the file says; nothing if there is none.

    Raises:
        CheckpointError: it is damaged.
    """
    if path is None:
        return GenerationConfig({}, ())
    values = read_json_object(path)
    ids = values.get("eos_token_id")
    listed = ids if isinstance(ids, list) else [] if ids is None else [ids]
    if not all(type(token_id) is int for token_id in listed):
        raise CheckpointError(f"{path}: eos_token_id must be a token id or a list of them, not {ids!r}.")
    return GenerationConfig(values, tuple(listed))
