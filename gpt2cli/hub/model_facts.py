"""Facts about a model: its architecture, its parameters by part, its license."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.roles import ATTENTION, MLP, role_of
from gpt2cli.checkpoint.traits import architecture_traits
from gpt2cli.checkpoint.weights import expected_shapes
from gpt2cli.hub.known_models import known_model
from gpt2cli.hub.model_files import ModelFiles

PARTS: dict[str, Collection[str]] = {
    "token_embedding": ("token_embedding",),
    "position_embedding": ("position_embedding",),
    "norms": ("attention_norm", "mlp_norm", "final_norm"),
    "attention": ATTENTION,
    "mlp": MLP,
    "head": ("head",),
}
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}


@dataclass(frozen=True)
class ModelFacts:
    """Facts about a model; `parameters` counts them by part, and `size` is the bytes of the weights files."""

    files: ModelFiles
    config: ModelConfig
    parameters: Mapping[str, int]
    dtype: str
    license: str | None
    size: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the facts in JSON output."""
        config = self.config
        return {
            "model": self.files.name,
            "architecture": architecture_traits(config),
            "layers": config.n_layer,
            "heads": config.n_head,
            "width": config.n_embd,
            "context": config.n_positions,
            "vocabulary": config.vocab_size,
            "parameters": {**self.parameters, "total": sum(self.parameters.values())},
            "dtype": self.dtype,
            "bytes": self.size,
            "license": self.license,
            "revision": self.files.revision,
            "path": str(self.files.folder),
        }


def describe_model(files: ModelFiles) -> ModelFacts:
    """Return the facts about a model.

    Raises:
        CheckpointError: its files are damaged or do not fit together.
    """
    config, weights = files.read_checkpoint()
    stored = {tensor.dtype for tensor in weights.values()}
    return ModelFacts(
        files,
        config,
        count_parameters(config),
        ", ".join(sorted(DTYPES.get(dtype, dtype) for dtype in stored)),
        license_of(files),
        sum(path.stat().st_size for path in files.weights_files),
    )


def count_parameters(config: ModelConfig) -> dict[str, int]:
    """Return the number of parameters in each part of a model; a tied head is not counted twice."""
    counts: Counter[str] = Counter()
    for name, shape in expected_shapes(config).items():
        counts[role_of(name)] += math.prod(shape)
    parts = {part: sum(counts[role] for role in roles) for part, roles in PARTS.items()}
    return {part: count for part, count in parts.items() if count}


def license_of(files: ModelFiles) -> str | None:
    known = known_model(files.name)
    return (known and known.license) or _front_matter_license(files.folder / "README.md")


def _front_matter_license(card: Path) -> str | None:
    try:
        first, *lines = card.read_text("utf-8", "replace").splitlines() or [""]
    except OSError:
        return None
    if first.strip() != "---":
        return None
    for line in takewhile(lambda line: line.strip() != "---", lines):
        key, _, value = line.partition(":")
        if key == "license" and value.strip():
            return value.strip().strip("\"'")
    return None
