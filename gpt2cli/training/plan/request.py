"""What was asked of `gpt2 train`, and what is chosen where nothing was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.errors import InputError, UsageError
from gpt2cli.training.plan.settings import (
    LONGEST_DEFAULT_CONTEXT,
    SIZES,
    OptimizerName,
    Precision,
    Shape,
    TrainingSettings,
    suitable_rate,
    suitable_size,
    suitable_steps,
)

if TYPE_CHECKING:
    from gpt2cli.text.tokenizer import Tokenizer

SMALLEST_BATCH_TOKENS, LARGEST_BATCH_TOKENS = 2_048, 8_192
# A step that sees a large part of a short text learns little more from it than one that sees a small part.
STEPS_PER_PASS = 8
WARMUP_STEPS, EVALUATIONS, PATIENCE = 100, 20, 5
DROPOUT = 0.1
# A text that is seen more often than this begins to be learned by heart.
HARMLESS_PASSES = 4
NEW_MODEL_ONLY = ("size", "layers", "heads", "width", "vocab", "tokenizer")
FINE_TUNING_ONLY = ("freeze", "lora")


@dataclass(frozen=True)
class Request:
    """Hold the options that decide what a run computes; None where nothing was asked for."""

    texts: list[str] | None
    document: Literal["marker", "file"] | None
    field: str | None
    valid: str | None
    parent: str | None
    size: str | None
    layers: int | None
    heads: int | None
    width: int | None
    context: int | None
    vocab: int | None
    tokenizer: str | None
    steps: int | None
    batch_tokens: int | None
    micro_batch: int | None
    learning_rate: float | None
    optimizer: OptimizerName | None
    dropout: float | None
    freeze: int | None
    lora: int | None
    eval_every: int | None
    patience: int | None
    seed: int | None
    dtype: Precision | None

    def require_sense(self) -> None:
        """Check that the options go together.

        Raises:
            UsageError: they do not.
        """
        unwanted = NEW_MODEL_ONLY if self.parent else FINE_TUNING_ONLY
        for name in unwanted:
            if getattr(self, name) is not None:
                what = "shapes a new model, so it excludes --from" if self.parent else "needs --from MODEL"
                raise UsageError(f"--{name} {what}.")
        if self.vocab and self.tokenizer:
            raise UsageError("--vocab trains a tokenizer, and --tokenizer takes one.", "Give one of them.")
        if self.freeze and self.lora:
            raise UsageError("--lora freezes every block already.", "Leave out --freeze.")

    def require_same(self, kept: Mapping[str, Any]) -> None:
        """Check that nothing is asked of a resumed run that it was not asked before.

        Raises:
            UsageError: an option differs.
        """
        for name, value in asdict(self).items():
            if value is not None and value != kept.get(name):
                option = {"texts": "TEXT", "parent": "--from"}.get(name, f"--{name.replace('_', '-')}")
                raise UsageError(
                    f"{option} differs from what the run began with.",
                    "--resume goes on as it was; leave out all but -o DIR.",
                )

    def shape(self, text_bytes: int) -> Shape:
        """Return the shape of a new model."""
        base = SIZES[self.size or suitable_size(text_bytes)]
        given = {
            name: value
            for name in ("layers", "heads", "width", "context")
            if (value := getattr(self, name)) is not None
        }
        return replace(base, **given)

    def new_config(self, tokenizer: Tokenizer, text_bytes: int) -> ModelConfig:
        """Return the config of a new model.

        Raises:
            UsageError: the heads do not divide the width.
        """
        shape = self.shape(text_bytes)
        if shape.width % shape.heads:
            raise UsageError(f"--width {shape.width} is not a multiple of --heads {shape.heads}.")
        return ModelConfig(
            vocab_size=tokenizer.vocab_size,
            n_positions=shape.context,
            n_embd=shape.width,
            n_layer=shape.layers,
            n_head=shape.heads,
            bos_token_id=tokenizer.eos_id,
            eos_token_id=tokenizer.eos_id,
        )

    def settings(self, config: ModelConfig, tokens: int, precision: Precision) -> TrainingSettings:
        """Return settings for a text of so many tokens; `micro_batch` is the whole batch unless given.

        Raises:
            UsageError: a value is out of its range.
        """
        fine_tuning = self.parent is not None
        context = self.context or min(config.n_positions, LONGEST_DEFAULT_CONTEXT)
        if not fine_tuning:
            context = config.n_positions
        if context > config.n_positions:
            raise UsageError(f"--context {context} is beyond the model's {config.n_positions:,} positions.")
        if (self.freeze or 0) > config.n_layer:
            raise UsageError(f"--freeze {self.freeze}: the model has only {config.n_layer} blocks.")
        batch_tokens = self.batch_tokens or _suitable_batch_tokens(tokens, fine_tuning)
        batch_size = max(1, round(batch_tokens / context))
        steps = self.steps or suitable_steps(tokens, batch_size * context, fine_tuning)
        optimizer: OptimizerName = self.optimizer or ("adamw" if fine_tuning else "muon")
        passes = steps * batch_size * context / tokens
        return TrainingSettings(
            steps=steps,
            context=context,
            batch_size=batch_size,
            micro_batch=min(batch_size, self.micro_batch or batch_size),
            optimizer=optimizer,
            learning_rate=_given(
                self.learning_rate, suitable_rate(fine_tuning, optimizer, self.lora or 0, config.n_embd)
            ),
            warmup_steps=min(WARMUP_STEPS, steps // 10),
            dropout=_given(self.dropout, DROPOUT if passes > HARMLESS_PASSES else 0.0),
            seed=self.seed or 0,
            precision=self.dtype or precision,
            freeze=self.freeze or 0,
            lora=self.lora or 0,
            evaluate_every=self.eval_every or max(1, steps // EVALUATIONS),
            patience=PATIENCE if self.patience is None else self.patience,
        )


def require_length(train: int, valid: int, from_same: bool, context: int, names: list[str]) -> None:
    """Check that there are tokens enough for one window, and for an evaluation.

    Raises:
        InputError: there are fewer.
    """
    if train <= context:
        beside = f" beside the {valid:,} held out" if from_same else ""
        raise InputError(
            f"{', '.join(names)}: {train:,} tokens{beside} are fewer than the {context + 1:,} "
            f"that a window of --context {context} needs.",
            f"Give more text, or use --context {train - 1}." if train > 1 else "Give more text.",
        )
    if valid < 2:
        raise InputError("The held-out text has less than two tokens.", "Name a longer one with --valid.")


def _suitable_batch_tokens(tokens: int, fine_tuning: bool) -> int:
    if fine_tuning:
        return SMALLEST_BATCH_TOKENS
    return min(LARGEST_BATCH_TOKENS, max(SMALLEST_BATCH_TOKENS, tokens // STEPS_PER_PASS))


def _given(value: float | None, default: float) -> float:
    return default if value is None else value
