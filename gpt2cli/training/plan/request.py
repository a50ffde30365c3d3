"""What a caller asks of training, and the choices made where nothing was asked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.errors import InputError, UsageError
from gpt2cli.training.plan.settings import (
    LONGEST_DEFAULT_CONTEXT,
    SIZES,
    OptimizerName,
    Precision,
    Shape,
    SizeName,
    TrainingSettings,
    require_ranges,
    suitable_batch_tokens,
    suitable_dropout,
    suitable_rate,
    suitable_size,
    suitable_steps,
    suitable_warmup,
)

if TYPE_CHECKING:
    from gpt2cli.text.tokenizer import Tokenizer

DocumentKind = Literal["marker", "file"]

# Evaluations in a run, and how many in vain end it. Fine-tuning is short beside what it saves each time.
EVALUATIONS, PATIENCE = 20, 5
TUNING_EVALUATIONS, TUNING_PATIENCE = 12, 3
NEW_MODEL_ONLY = ("size", "layers", "heads", "width", "vocab", "tokenizer")
FINE_TUNING_ONLY = ("freeze", "lora")
CHOICES = {
    "document": get_args(DocumentKind),
    "size": get_args(SizeName),
    "optimizer": get_args(OptimizerName),
    "dtype": get_args(Precision),
}


@dataclass(frozen=True)
class Request:
    """What to train and how; None leaves a value to be chosen from the text and the model.

    Raises:
        UsageError: a value is out of its range.
    """

    texts: str | Path | Sequence[str | Path] | None = None
    _: KW_ONLY
    document: DocumentKind | None = None
    field: str | None = None
    special: bool | None = None
    valid: str | Path | None = None
    parent: str | Path | None = None
    size: SizeName | None = None
    layers: int | None = None
    heads: int | None = None
    width: int | None = None
    context: int | None = None
    vocab: int | None = None
    tokenizer: str | Path | None = None
    steps: int | None = None
    epochs: float | None = None
    minutes: float | None = None
    batch_tokens: int | None = None
    micro_batch: int | None = None
    learning_rate: float | None = None
    optimizer: OptimizerName | None = None
    dropout: float | None = None
    freeze: int | None = None
    lora: int | None = None
    eval_every: int | None = None
    patience: int | None = None
    seed: int | None = None
    dtype: Precision | None = None

    def __post_init__(self) -> None:
        require_ranges(vars(self))
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise UsageError(f"`{name}` must be {' or '.join(choices)}, not {value}.")

    @property
    def sources(self) -> list[str]:
        """Return the names of the texts."""
        texts = [self.texts] if isinstance(self.texts, str | Path) else self.texts or ()
        return [os.fspath(text) for text in texts]

    def kept(self) -> dict[str, Any]:
        """Return the request as JSON keeps it."""
        values = {field.name: getattr(self, field.name) for field in fields(Request)}
        paths = {name: os.fspath(value) for name, value in values.items() if isinstance(value, Path)}
        return {**values, **paths, "texts": self.sources or None}

    def require_sense(self) -> None:
        """Check that the values go together.

        Raises:
            UsageError: they do not.
        """
        if not self.sources:
            raise UsageError("`texts` is missing.", "Name a text to train on.")
        unwanted = NEW_MODEL_ONLY if self.parent else FINE_TUNING_ONLY
        for name in unwanted:
            if getattr(self, name):
                what = "shapes a new model, so it excludes `parent`" if self.parent else "needs `parent`"
                raise UsageError(f"`{name}` {what}.")
        if self.vocab and self.tokenizer:
            raise UsageError("`vocab` trains a tokenizer, and `tokenizer` takes one.", "Give one of them.")
        if self.steps and self.epochs:
            raise UsageError("`epochs` and `steps` both set the length.", "Give one of them.")
        if self.freeze and self.lora:
            raise UsageError("`lora` freezes every block already.", "Leave out `freeze`.")

    def require_same(self, kept: Mapping[str, Any]) -> None:
        """Check that a resumed run is asked for nothing that it was not asked for at its start.

        Raises:
            UsageError: a value differs.
        """
        for name, value in self.kept().items():
            if value is not None and value != kept.get(name):
                raise UsageError(
                    f"`{name}` differs from what the run began with.",
                    "A resumed run keeps its settings: give `output` alone.",
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
            raise UsageError(f"`width` {shape.width} is not a multiple of `heads` {shape.heads}.")
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
        """Return the settings for a text of some tokens; `micro_batch` is the whole batch unless given.

        Raises:
            UsageError: a value does not fit the model.
        """
        fine_tuning = self.parent is not None
        context = self.context or min(config.n_positions, LONGEST_DEFAULT_CONTEXT)
        if not fine_tuning:
            context = config.n_positions
        if context > config.n_positions:
            raise UsageError(f"`context` {context} is beyond the model's {config.n_positions:,} positions.")
        if (self.freeze or 0) > config.n_layer:
            raise UsageError(f"`freeze` {self.freeze} is beyond the model's {config.n_layer} blocks.")
        batch_tokens = self.batch_tokens or suitable_batch_tokens(tokens, fine_tuning)
        batch_size = max(1, round(batch_tokens / context))
        steps = self.steps or self._steps_of_epochs(tokens, batch_size * context)
        steps = steps or suitable_steps(tokens, batch_size * context, fine_tuning)
        optimizer: OptimizerName = self.optimizer or ("adamw" if fine_tuning else "muon")
        evaluations, patience = (
            (TUNING_EVALUATIONS, TUNING_PATIENCE) if fine_tuning else (EVALUATIONS, PATIENCE)
        )
        passes = steps * batch_size * context / tokens
        return TrainingSettings(
            steps=steps,
            context=context,
            batch_size=batch_size,
            micro_batch=min(batch_size, self.micro_batch or batch_size),
            optimizer=optimizer,
            learning_rate=_given(
                self.learning_rate,
                suitable_rate(fine_tuning, optimizer, self.lora or 0, config.n_embd, tokens),
            ),
            warmup_steps=suitable_warmup(steps),
            dropout=_given(self.dropout, suitable_dropout(passes)),
            seed=self.seed or 0,
            precision=self.dtype or precision,
            freeze=self.freeze or 0,
            lora=self.lora or 0,
            evaluate_every=self.eval_every or max(1, steps // evaluations),
            patience=patience if self.patience is None else self.patience,
            minutes=self.minutes,
        )

    def _steps_of_epochs(self, tokens: int, step_tokens: int) -> int | None:
        return None if self.epochs is None else max(1, round(self.epochs * tokens / step_tokens))


def require_length(train: int, valid: int, from_same: bool, context: int, names: list[str]) -> None:
    """Check that the tokens suffice for one window, and for an evaluation.

    Raises:
        InputError: they do not.
    """
    if train <= context:
        beside = f" beside the {valid:,} held out" if from_same else ""
        raise InputError(
            f"{', '.join(names)}: {train:,} tokens{beside} are fewer than the {context + 1:,} "
            f"that a window of `context` {context} needs.",
            f"Give more text, or use `context` {train - 1}." if train > 1 else "Give more text.",
        )
    if valid < 2:
        raise InputError("The held-out text has fewer than two tokens.", "Name a longer one with `valid`.")


def _given(value: float | None, default: float) -> float:
    return default if value is None else value
