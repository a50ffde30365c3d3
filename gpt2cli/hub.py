"""A model's files: found locally first, else downloaded; verified, removed, pruned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelFiles:
    """Name the files of one model; `tokenizer` is empty where the bundled GPT-2 merges serve."""

    name: str
    revision: str | None
    config: Path
    weights: tuple[Path, ...]
    tokenizer: tuple[Path, ...]
