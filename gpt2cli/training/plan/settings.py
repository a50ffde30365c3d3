"""Settings of training, the sizes known by name, and defaults that need no tuning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gpt2cli.checkpoint.roles import POSITION_EMBEDDING, TOKEN_EMBEDDING, layer_of
from gpt2cli.errors import UsageError

OptimizerName = Literal["muon", "adamw"]
Precision = Literal["float32", "bfloat16"]
SizeName = Literal["1M", "5M", "25M", "124M", "355M"]


@dataclass(frozen=True)
class Shape:
    """The size of a model: blocks, heads in each, embedding width, and context in tokens."""

    layers: int
    heads: int
    width: int
    context: int


# Named by their parameters; the two largest are GPT-2's and include the embeddings of its vocabulary.
SIZES: dict[SizeName, Shape] = {
    "1M": Shape(4, 4, 128, 256),
    "5M": Shape(6, 4, 256, 512),
    "25M": Shape(8, 8, 512, 512),
    "124M": Shape(12, 12, 768, 1024),
    "355M": Shape(24, 16, 1024, 1024),
}
# A larger model overfits a text this short before it has learned the language.
SHORT_TEXT_BYTES = 300_000
LONGEST_DEFAULT_CONTEXT = 512
GPT2_WIDTH = 768
LONGEST_WARMUP = 100
# Tokens in some 1 MB of English, and the steps that tune a model to them.
MUCH_TO_TUNE, TUNING_STEPS = 280_000, 300
HARMLESS_PASSES, MOST_DROPOUT = 4, 0.1
MAX_SEED = 2**63 - 1
AT_LEAST: dict[int, tuple[str, ...]] = {
    1: (
        *("layers", "heads", "width", "context", "steps", "batch_tokens", "batch_size", "micro_batch"),
        *("eval_every", "evaluate_every"),
    ),
    0: ("warmup_steps", "weight_decay", "freeze", "lora", "patience"),
    257: ("vocab",),
}


@dataclass(frozen=True)
class TrainingSettings:
    """Settings for training; after `minutes` it ends, None for no limit.

    A step sees `batch_size` windows of `context` tokens, `micro_batch` of them in one pass. `lora` is the
    rank of the adapters, 0 for none. `freeze` is the number of first blocks that stay unchanged, together
    with the embeddings.

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
    minutes: float | None = None

    def __post_init__(self) -> None:
        require_ranges(vars(self))
        if self.lora and self.optimizer == "muon":
            raise UsageError("Muon updates whole matrices, so it excludes `lora`.", "Use `optimizer` adamw.")

    def freezes(self, name: str) -> bool:
        """Return whether the weight of this name stays as it is."""
        if self.lora or not self.freeze:
            return bool(self.lora)
        layer = layer_of(name)
        return name in (TOKEN_EMBEDDING, POSITION_EMBEDDING) if layer is None else layer < self.freeze


def require_ranges(values: Mapping[str, Any]) -> None:
    """Check the numbers among named values; None is in every range.

    Raises:
        UsageError: a value is out of its range.
    """
    given = {name: value for name, value in values.items() if value is not None}
    for least, names in AT_LEAST.items():
        for name in (name for name in names if name in given):
            _require(given, name, given[name] >= least, f"{least} or more")
    _require(given, "seed", 0 <= given.get("seed", 0) <= MAX_SEED, f"between 0 and {MAX_SEED}")
    for name in ("learning_rate", "epochs", "minutes"):
        _require(given, name, math.isfinite(given.get(name, 1.0)), "finite")
        _require(given, name, given.get(name, 1.0) > 0.0, "above 0")
    _require(given, "dropout", 0.0 <= given.get("dropout", 0.0) < 1.0, "0 or more and below 1")


def _require(values: Mapping[str, Any], name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise UsageError(f"`{name}` must be {expected}, not {values[name]}.")


def suitable_size(text_bytes: int) -> SizeName:
    """Return the name of the size that suits a text on a laptop."""
    return "1M" if text_bytes < SHORT_TEXT_BYTES else "5M"


def suitable_batch_tokens(tokens: int, fine_tuning: bool) -> int:
    """Return how many tokens a step should see of a text of some tokens."""
    if fine_tuning:
        # Many small steps teach more of a short text in the same time than a few large ones.
        return round(min(2_048, max(512, 2_048 * math.pow(tokens / MUCH_TO_TUNE, 0.3))))
    # A step that sees a large part of a short text learns little more from it than one that sees an eighth.
    return min(8_192, max(2_048, tokens // 8))


def suitable_steps(tokens: int, step_tokens: int, fine_tuning: bool) -> int:
    """Return a number of steps that suits a text of some tokens."""
    if fine_tuning:
        # Ten times the text is worth 2.5 times the steps: a short one is overfitted after a few passes, and a
        # long one has taught most of its manner before it is read once. docs/train.md has the measurements.
        return min(2_000, max(8, round(TUNING_STEPS * math.pow(tokens / MUCH_TO_TUNE, 0.4))))
    return min(2_000, max(200, 10 * tokens // step_tokens))


def suitable_warmup(steps: int) -> int:
    """Return the number of steps in which the learning rate rises."""
    return min(LONGEST_WARMUP, steps // 10)


def suitable_rate(fine_tuning: bool, optimizer: OptimizerName, lora: int, width: int, tokens: int) -> float:
    """Return a peak learning rate that suits the optimizer, and a text of some tokens."""
    if lora:
        return 1e-3
    if fine_tuning:
        # Narrow models take higher rates: 1e-4 is usual for GPT-2, and width 256 does better with 5e-4.
        # A short text leaves few steps to recover from a high rate: 10 KB take half of what 10 MB take.
        widened = 1e-4 * math.pow(GPT2_WIDTH / width, 1.5)
        return float(f"{min(1e-3, widened) * min(1.0, math.pow(tokens / (10 * MUCH_TO_TUNE), 0.1)):.2g}")
    return 3e-3 if optimizer == "muon" else 1e-3


def suitable_dropout(passes: float) -> float:
    """Return the dropout for passes over the same text, which overfit it after the first few."""
    return round(MOST_DROPOUT * min(1.0, max(0.0, passes / HARMLESS_PASSES - 1.0)), 2)
