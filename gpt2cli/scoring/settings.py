"""Settings for scoring a text, and for predicting what follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from gpt2cli.errors import UsageError
from gpt2cli.generation.settings import Truncation
from gpt2cli.text.reading.newlines import Newlines

Unit = Literal["bits", "nats"]
ProtocolName = Literal["hf", "lm-eval", "llama.cpp"]
By = Literal["token", "word", "line", "document"]
ItemBy = Literal["token", "word", "line", "document", "region"]
Split = Literal["line", "endoftext"]
Punctuation = Literal["attached", "apart"]
Correction = Literal["pimentel-meister", "wordsprobability", "minicons"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ScoringSettings:
    """How a text is scored.

    `unit` is that of surprisal and entropy. `bos` puts the BOS token before each text; without it the first
    token has no score. `window` and `stride` are in tokens: a longer text is read in windows that move by
    the stride, by default the model's context and half of the window. `batch_size` is how many windows fill
    one batch, by default 1 on a CPU and 8 elsewhere. `protocol` measures perplexity exactly as another tool
    does, and sets its own defaults. `by` is what gets a row: tokens by default, documents under a protocol.
    `correction` is how `surprisal_corrected` of a word moves white space from before the word to behind it.
    `punctuation` is a part of the word that it touches, or words apart; these have no correction.
    `special` parses special tokens in the text. `newlines` keeps CR LF, or reads it as LF; None keeps it.

    Raises:
        UsageError: a value is out of its range.
    """

    unit: Unit = "bits"
    bos: bool | None = None
    window: int | None = None
    stride: int | None = None
    batch_size: int | None = None
    protocol: ProtocolName | None = None
    by: By | None = None
    correction: Correction = "pimentel-meister"
    punctuation: Punctuation = "attached"
    special: bool = False
    newlines: Newlines | None = None

    def __post_init__(self) -> None:
        require_choice("unit", self.unit, get_args(Unit))
        require_choice("punctuation", self.punctuation, get_args(Punctuation))
        require_choice("correction", self.correction, get_args(Correction))
        if self.protocol is not None:
            require_choice("protocol", self.protocol, get_args(ProtocolName))
        if self.by is not None:
            require_choice("by", self.by, get_args(By))
        if self.newlines is not None:
            require_choice("newlines", self.newlines, get_args(Newlines))
        for name in ("window", "stride", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"`{name}` must be 1 or more, not {value}.")

    def rows_by(self, by: ItemBy | None) -> By:
        """Return what gets a row; None means tokens, or documents under a protocol.

        Raises:
            UsageError: the choice does not fit the protocol.
        """
        if by is None:
            return "document" if self.protocol else "token"
        if by == "region":
            raise UsageError("`by` region is for items, whose texts have regions.")
        if self.protocol and by != "document":
            raise UsageError("`protocol` measures documents only.", "Leave out `by`.")
        return by


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NextSettings:
    """How the next token is predicted.

    Of the likeliest tokens, `top` are returned; with `candidates`, all of these texts instead, spelled
    exactly, spaces included. `bos` puts the BOS token before the text; None does so if the model's tokenizer
    does. `truncate` is the side on which a text that exceeds the context is cut; None refuses such a text.
    `special` parses special tokens in the text and the candidates.

    Raises:
        UsageError: a value is out of its range.
    """

    top: int = 10
    candidates: Sequence[str] = ()
    unit: Unit = "bits"
    bos: bool | None = None
    truncate: Truncation | None = None
    special: bool = False

    def __post_init__(self) -> None:
        require_choice("unit", self.unit, get_args(Unit))
        if self.top < 1:
            raise UsageError(f"`top` must be 1 or more, not {self.top}.")
        if not all(self.candidates):
            raise UsageError("A candidate is empty.", "Spell each exactly, spaces included.")

    def for_candidates(self, texts: Sequence[str]) -> NextSettings:
        """Return the same settings for these candidates.

        Raises:
            UsageError: one is empty.
        """
        return replace(self, candidates=texts)

    def require_text(self, text: str) -> None:
        """Check that there is something to predict from.

        Raises:
            UsageError: the text is empty, and no BOS token precedes it.
        """
        if not text and not self.bos:
            raise UsageError("The text is empty.", "With `bos`, it may be empty.")


def require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Check that a parameter has one of its values.

    Raises:
        UsageError: it has another.
    """
    if value not in choices:
        raise UsageError(f"`{name}` must be {', '.join(choices[:-1])} or {choices[-1]}, not {value!r}.")
