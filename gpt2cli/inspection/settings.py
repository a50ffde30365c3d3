"""Settings for looking inside a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from gpt2cli.errors import UsageError
from gpt2cli.scoring.settings import ScoringSettings, Unit, require_choice
from gpt2cli.text.reading.newlines import Newlines


class HeadName(NamedTuple):
    """A head by layer and number, both from 0 as in transformers and the literature."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"{self.layer}.{self.head}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PassageSettings:
    """How a text is read: `bos` puts the BOS token before it, `special` parses special tokens in it."""

    bos: bool = True
    special: bool = False


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LensSettings(PassageSettings):
    """Which predictions of a text to return.

    Layer 0 is the embedding, and the last layer is the model's own prediction. `positions` are the numbers
    of tokens from 1; the number after the last token is that of what follows the text. Negative numbers
    count from the end. None takes all. Of each prediction, the `top` likeliest tokens are returned.

    Raises:
        UsageError: a value is out of its range.
    """

    layers: Sequence[int] | None = None
    positions: Sequence[int] | None = None
    top: int = 1
    unit: Unit = "bits"

    def __post_init__(self) -> None:
        require_choice("unit", self.unit, get_args(Unit))
        if self.top < 1:
            raise UsageError(f"`top` must be 1 or more, not {self.top}.")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DiffSettings(PassageSettings):
    """How two models are compared on a text.

    `by` is what gets a row: tokens by default, or words if the tokenizers differ. `window` and `stride` are
    those of `ScoringSettings`; the window is at most the smaller context.

    Raises:
        UsageError: a value is out of its range.
    """

    by: Literal["token", "word"] | None = None
    unit: Unit = "bits"
    window: int | None = None
    stride: int | None = None
    newlines: Newlines | None = None

    def __post_init__(self) -> None:
        if self.by is not None:
            require_choice("by", self.by, ("token", "word"))
        # It checks the others.
        self.scoring(1)

    def scoring(self, context: int) -> ScoringSettings:
        """Return how both models score, whose contexts hold `context` tokens at least."""
        return ScoringSettings(
            unit=self.unit,
            bos=self.bos,
            window=self.window or context,
            stride=self.stride,
            special=self.special,
            newlines=self.newlines,
        )
