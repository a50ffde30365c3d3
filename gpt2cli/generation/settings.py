"""Settings for continuing a prompt: sampling, length and output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

from gpt2cli.errors import UsageError, brief

Truncation = Literal["left", "right"]
Overflow = Literal["stop", "slide"]
StopAt = Literal["sentence", "line", "paragraph"]
# A text, ids, or None for the BOS token.
PromptText: TypeAlias = str | tuple[int, ...] | None
MAX_SEED = 2**64 - 1


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SamplingSettings:
    """Settings for sampling; temperature 0 always takes the likeliest token.

    Raises:
        UsageError: a value is out of its range.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram: int = 0

    def __post_init__(self) -> None:
        self._require("temperature", 0.0 <= self.temperature < math.inf, "0 or more")
        self._require("top_k", self.top_k >= 0, "0 (off) or more")
        self._require("top_p", 0.0 < self.top_p <= 1.0, "above 0 and at most 1 (off)")
        self._require("min_p", 0.0 <= self.min_p <= 1.0, "between 0 (off) and 1")
        self._require("repetition_penalty", 0.0 < self.repetition_penalty < math.inf, "above 0; 1 is off")
        self._require("presence_penalty", math.isfinite(self.presence_penalty), "a finite number")
        self._require("frequency_penalty", math.isfinite(self.frequency_penalty), "a finite number")
        self._require("no_repeat_ngram", self.no_repeat_ngram >= 0, "0 (off) or more")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise UsageError(f"`{name}` must be {expected}, not {brief(str(getattr(self, name)))}.")


class TextBias(NamedTuple):
    """A text and the logits added to it; negative logits make it less likely."""

    text: str
    logits: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CompletionSettings(SamplingSettings):
    """Settings for continuing a prompt as text.

    `stop` strings end a sample, and so does the end of its first sentence, line or paragraph with `stop_at`.
    The stop string or line end is not part of it unless `keep_stop`. Neither an end token nor a stop ends it
    before `min_tokens` tokens. `truncate` is the side on which a prompt that exceeds the context is cut; None
    rejects such a prompt. At the end of the context, `overflow` either stops or slides: it keeps the newer
    half and continues. `bias` and `ban` match texts exactly, spaces included. A `seed` of None is chosen at
    random. `special` parses special tokens in the prompt. `bos` puts the BOS token before the prompt; None
    does so if the model's tokenizer does. `logprobs` requests log-probabilities in nats, and those of this
    many likeliest tokens at each position. `speculate` drafts tokens from earlier text. With `best_of`, this
    many samples are drawn, and those with the highest log-probability per token are kept.

    Raises:
        UsageError: a value is out of its range.
    """

    max_tokens: int = 128
    min_tokens: int = 0
    stop: Sequence[str] = ()
    stop_at: StopAt | None = None
    keep_stop: bool = False
    ignore_eos: bool = False
    truncate: Truncation | None = None
    overflow: Overflow = "stop"
    bias: Mapping[str, float] | Sequence[TextBias] = ()
    ban: Sequence[str] = ()
    seed: int | None = None
    special: bool = False
    bos: bool | None = None
    logprobs: int | None = None
    speculate: bool = False
    best_of: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("max_tokens", self.max_tokens >= 0, "0 or more")
        self._require("min_tokens", self.min_tokens >= 0, "0 or more")
        at_most = f"at most `max_tokens` ({self.max_tokens})"
        self._require("min_tokens", self.min_tokens <= self.max_tokens, at_most)
        is_unit = self.stop_at in (None, *get_args(StopAt))
        self._require("stop_at", is_unit, "sentence, line or paragraph")
        self._require("truncate", self.truncate in (None, *get_args(Truncation)), "left or right")
        self._require("overflow", self.overflow in get_args(Overflow), "stop or slide")
        self._require("best_of", self.best_of is None or self.best_of >= 1, "1 or more")
        self._require("bias", all(math.isfinite(x) for _, x in self.text_biases), "finite numbers of logits")
        self._require("seed", 0 <= (self.seed or 0) <= MAX_SEED, f"between 0 and {MAX_SEED}")
        self._require("logprobs", (self.logprobs or 0) >= 0, "0 or more")
        biased = [text for text, _ in self.text_biases]
        for name, texts in {"stop": self.stop, "ban": self.ban, "bias": biased}.items():
            if not all(texts):
                raise UsageError(f"`{name}` contains an empty text.", "Leave it out.")

    @property
    def text_biases(self) -> list[TextBias]:
        """The entries of `bias` in order."""
        pairs = self.bias.items() if isinstance(self.bias, Mapping) else self.bias
        return [TextBias(*pair) for pair in pairs]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SampleSettings(CompletionSettings):
    """Settings for several samples, at most `batch_size` at once.

    Their keys and values take at most `kv_memory` bytes, by default a quarter of what is free.

    Raises:
        UsageError: a value is out of its range.
    """

    num_samples: int = 1
    batch_size: int = 8
    kv_memory: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("num_samples", self.num_samples >= 1, "1 or more")
        self._require("batch_size", self.batch_size >= 1, "1 or more")
        self._require("kv_memory", self.kv_memory is None or self.kv_memory >= 1, "1 byte or more")
        is_enough = self.best_of is None or self.best_of >= self.num_samples
        self._require("best_of", is_enough, f"at least `num_samples` ({self.num_samples})")
