"""How a model is trained: the settings, the sizes known by name, and defaults that need no tuning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gpt2cli.checkpoint.roles import POSITION_EMBEDDING, TOKEN_EMBEDDING, layer_of
from gpt2cli.errors import UsageError

OptimizerName = Literal["muon", "adamw"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Shape:
    """Size a model: its blocks, their heads, the width between them, and its context in tokens."""

    layers: int
    heads: int
    width: int
    context: int


# Named by their parameters; the two largest are GPT-2's own, which count the embeddings of its vocabulary.
SIZES = {
    "1M": Shape(4, 4, 128, 256),
    "5M": Shape(6, 4, 256, 512),
    "25M": Shape(8, 8, 512, 512),
    "124M": Shape(12, 12, 768, 1024),
    "355M": Shape(24, 16, 1024, 1024),
}
# A larger model would learn a text this short by heart before it learned the language.
SHORT_TEXT_BYTES = 300_000
LONGEST_DEFAULT_CONTEXT = 512
GPT2_WIDTH = 768


@dataclass(frozen=True)
class TrainingSettings:
    """Choose how to train.

    A step sees `batch_size` windows of `context` tokens, `micro_batch` of them in one pass. `lora` is the
    rank of the adapters, 0 for none; `freeze` counts the first blocks that stay as they are, with the
    embeddings.

    Raises:
        UsageError: a value is out of its range.
    """

    steps: int
    context: int = 512
    batch_size: int = 16
    micro_batch: int = 16
    optimizer: OptimizerName = "muon"
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    final_fraction: float = 0.05
    weight_decay: float = 0.1
    dropout: float = 0.0
    clip: float = 1.0
    seed: int = 0
    precision: Precision = "float32"
    freeze: int = 0
    lora: int = 0
    evaluate_every: int = 100
    patience: int = 5

    def __post_init__(self) -> None:
        for name in ("steps", "context", "batch_size", "micro_batch", "evaluate_every"):
            _require(name, getattr(self, name) >= 1, "1 or more")
        for name in ("warmup_steps", "freeze", "lora", "patience", "seed", "weight_decay"):
            _require(name, getattr(self, name) >= 0, "0 or more")
        _require("learning_rate", 0.0 < self.learning_rate < math.inf, "above 0")
        _require("dropout", 0.0 <= self.dropout < 1.0, "0 or more and below 1")
        if self.lora and self.optimizer == "muon":
            raise UsageError("Muon is made for whole matrices, not for --lora.", "Use --optimizer adamw.")

    def freezes(self, name: str) -> bool:
        """Return whether the weight of this name stays as it is."""
        if self.lora or not self.freeze:
            return bool(self.lora)
        layer = layer_of(name)
        return name in (TOKEN_EMBEDDING, POSITION_EMBEDDING) if layer is None else layer < self.freeze


def _require(name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise UsageError(f"{name} must be {expected}.")


def suitable_size(text_bytes: int) -> str:
    """Return the name of the size that suits a text on a laptop."""
    return "1M" if text_bytes < SHORT_TEXT_BYTES else "5M"


def suitable_steps(tokens: int, step_tokens: int, fine_tuning: bool) -> int:
    """Return how many steps suit a text of so many tokens."""
    passes = 4 if fine_tuning else 10
    return min(2_000, max(200, passes * tokens // step_tokens))


def suitable_rate(fine_tuning: bool, optimizer: OptimizerName, lora: int, width: int) -> float:
    """Return a peak learning rate that suits the optimizer."""
    if lora:
        return 1e-3
    if fine_tuning:
        # Narrow models bear more: 1e-4 is usual for GPT-2, and five times as much is better at width 256.
        return min(1e-3, round(1e-4 * math.pow(GPT2_WIDTH / width, 1.5), 6))
    return 3e-3 if optimizer == "muon" else 1e-3
