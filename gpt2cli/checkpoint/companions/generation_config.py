"""What generation_config.json says: the ids that end a text, and how its makers sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gpt2cli.checkpoint.config import read_json_object
from gpt2cli.errors import CheckpointError, shown

GENERATION_CONFIG = "generation_config.json"


def read_generation_config(path: Path | None) -> dict[str, Any]:
    """Return the content of the file, in which `eos_token_id` is a list; nothing if there is no file.

    Raises:
        CheckpointError: it is damaged.
    """
    if path is None:
        return {}
    values = read_json_object(path)
    ids = values.get("eos_token_id")
    values["eos_token_id"] = ids if isinstance(ids, list) else [] if ids is None else [ids]
    if not all(type(token_id) is int for token_id in values["eos_token_id"]):
        raise CheckpointError(f"{path}: eos_token_id must be a token id or a list of them, not {shown(ids)}.")
    return values
