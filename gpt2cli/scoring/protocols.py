"""The ways in which other tools measure perplexity, to the letter."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from gpt2cli.errors import UsageError
from gpt2cli.scoring.predictions import Predictions, Window, Windows, rolling_windows
from gpt2cli.scoring.rows import Summary, Unit, exponential, in_unit

ProtocolName = Literal["hf", "lm-eval", "llama.cpp"]


@dataclass(frozen=True)
class Protocol:
    """Describe a tool's way; `window` and `stride` are in ids, None for the model's context or the window."""

    bos: bool
    window: int | None
    stride: int | None
    windows: Windows


def hf_windows(length: int, size: int, stride: int) -> Iterator[Window]:
    """Yield the windows of "Perplexity of fixed-length models" in the documentation of transformers."""
    scored = 0
    for start in range(0, length, stride):
        end = min(start + size, length)
        yield Window(start, end, max(scored, start + 1), end)
        if end == length:
            break
        scored = end


def lm_eval_windows(length: int, size: int, stride: int) -> Iterator[Window]:
    """Yield the windows of lm-evaluation-harness: get_rolling_token_windows with a context of 1."""
    if length > 1:
        yield from rolling_windows(length - 1, size, stride)


def llama_cpp_windows(length: int, size: int, stride: int) -> Iterator[Window]:
    """Yield the chunks of llama-perplexity, of which the second half is scored.

    Raises:
        UsageError: the sequence does not fill two chunks.
    """
    if length < 2 * size:
        raise UsageError(
            f"llama.cpp's protocol needs 2 chunks of {size:,} tokens, and the text has {length:,}.",
            "Use a longer text or a smaller --window.",
        )
    for start in range(0, length - size + 1, size):
        yield Window(start, start + size, start + size // 2 + 1, start + size)


PROTOCOLS: dict[ProtocolName, Protocol] = {
    "hf": Protocol(bos=False, window=None, stride=512, windows=hf_windows),
    "lm-eval": Protocol(bos=True, window=None, stride=None, windows=lm_eval_windows),
    "llama.cpp": Protocol(bos=False, window=512, stride=None, windows=llama_cpp_windows),
}


class ProtocolTotals:
    """Add up texts as a tool does."""

    def __init__(self, name: ProtocolName) -> None:
        self._name = name
        self._nats = 0.0
        self._tokens = 0
        self._weighted = 0.0
        self._weight = 0
        self._words = 0
        self._bytes = 0

    def add_text(self, content: str, predictions: Iterable[Predictions]) -> None:
        """Take one text and the windows that it was scored in."""
        end = 0
        for window in predictions:
            nats, tokens = 0.0 - math.fsum(window.logprobs), len(window.logprobs)
            self._nats += nats
            self._tokens += tokens
            start, end = end, window.first + tokens
            # The recipe of transformers takes one label off for each window, though mostly none is lost.
            weight = end - start - 1 if self._name == "hf" else tokens
            if tokens:
                self._weighted += nats * weight / tokens
                self._weight += weight
        self._words += len(re.split(r"\s+", content))
        self._bytes += len(content.encode())

    def add_totals(self, other: ProtocolTotals) -> None:
        """Take all texts of another sum."""
        self._nats += other._nats
        self._tokens += other._tokens
        self._weighted += other._weighted
        self._weight += other._weight
        self._words += other._words
        self._bytes += other._bytes

    def summary(self, unit: Unit) -> Summary:
        """Return the tool's numbers; those that it does not tell are None."""
        tells_words = self._name == "lm-eval"
        return Summary(
            surprisal=in_unit(self._nats, unit) if self._tokens else None,
            mean_surprisal=in_unit(self._weighted / self._weight, unit) if self._weight else None,
            tokens=self._tokens,
            words=self._words if tells_words else None,
            bytes=self._bytes if tells_words else None,
            perplexity=exponential(self._weighted, self._weight),
            word_perplexity=exponential(self._nats, self._words) if tells_words else None,
            bits_per_byte=self._nats / self._bytes / math.log(2) if tells_words and self._bytes else None,
        )
