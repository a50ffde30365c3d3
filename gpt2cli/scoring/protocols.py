"""Perplexity exactly as other tools measure it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpt2cli.errors import UsageError
from gpt2cli.scoring.rows import Summary, exponential, in_unit
from gpt2cli.scoring.scored_text import Text
from gpt2cli.scoring.settings import ProtocolName, ScoringSettings, Unit
from gpt2cli.scoring.streaming.id_blocks import Reach
from gpt2cli.scoring.windows import Scheme, Window, Windows, require_bos, rolling_windows

if TYPE_CHECKING:
    from gpt2cli.scoring.predictions import Predictions


@dataclass(frozen=True)
class Protocol:
    """How a tool reads a text; `window` and `stride` in ids, by default the context and the window."""

    bos: bool
    window: int | None
    stride: int | None
    windows: Windows


def hf_windows(reach: Reach, size: int, stride: int) -> Iterator[Window]:
    """Yield the windows of "Perplexity of fixed-length models" in the transformers documentation."""
    start = scored = 0
    while reach(start + 1) > start:
        end = reach(start + size)
        yield Window(start, end, max(scored, start + 1), end)
        if reach(end + 1) == end:
            break
        start, scored = start + stride, end


def lm_eval_windows(reach: Reach, size: int, stride: int) -> Iterator[Window]:
    """Yield the windows of lm-evaluation-harness: get_rolling_token_windows with context_len=1."""
    if reach(2) > 1:
        yield from rolling_windows(lambda count: reach(count + 1) - 1, size, stride)


def llama_cpp_windows(reach: Reach, size: int, stride: int) -> Iterator[Window]:
    """Yield the chunks of llama-perplexity, which scores the second half of each.

    Raises:
        UsageError: the sequence does not fill two chunks.
    """
    length = reach(2 * size)
    if length < 2 * size:
        raise UsageError(
            f"llama.cpp's protocol needs 2 chunks of {size:,} tokens, and the text has {length:,}.",
            "Use a longer text or a smaller `window`.",
        )
    start = 0
    while reach(start + size) == start + size:
        yield Window(start, start + size, start + size // 2 + 1, start + size)
        start += size


PROTOCOLS: dict[ProtocolName, Protocol] = {
    "hf": Protocol(bos=False, window=None, stride=512, windows=hf_windows),
    "lm-eval": Protocol(bos=True, window=None, stride=None, windows=lm_eval_windows),
    "llama.cpp": Protocol(bos=False, window=512, stride=None, windows=llama_cpp_windows),
}


def protocol_scheme(
    name: ProtocolName, settings: ScoringSettings, context: int, bos_id: int | None
) -> Scheme:
    """Return the scheme of a protocol for a model with this context and BOS token.

    Raises:
        UsageError: a setting contradicts the protocol, or the model has no BOS token and needs one.
    """
    rules = PROTOCOLS[name]
    if settings.bos is not None and settings.bos != rules.bos:
        raise UsageError(
            f"The protocol {name} scores {'with' if rules.bos else 'without'} BOS.", "Leave out `bos`."
        )
    if settings.stride is not None and rules.stride is None:
        raise UsageError(f"The protocol {name} has no stride.", "Leave out `stride`.")
    window = settings.window or min(rules.window or context, context)
    stride = settings.stride or min(rules.stride or window, window)
    return Scheme(require_bos(bos_id) if rules.bos else None, window, stride, rules.windows)


class ProtocolTotals:
    """The sums of texts as a tool computes them."""

    def __init__(self, name: ProtocolName) -> None:
        self._name = name
        self._nats = 0.0
        self._tokens = 0
        self._weighted = 0.0
        self._weight = 0
        self._words = 0
        self._bytes = 0

    def add_text(self, text: Text, predictions: Iterable[Predictions]) -> None:
        """Add a text and the windows that it was scored in."""
        end = 0
        for window in predictions:
            nats, tokens = 0.0 - math.fsum(window.logprobs), len(window.logprobs)
            self._nats += nats
            self._tokens += tokens
            start, end = end, window.first + tokens
            # The transformers recipe subtracts one label per window, although only the first loses one.
            weight = end - start - 1 if self._name == "hf" else tokens
            if tokens:
                self._weighted += nats * weight / tokens
                self._weight += weight
        size = text.size()
        self._words += size.gaps + 1
        self._bytes += size.bytes

    def add_totals(self, other: ProtocolTotals) -> None:
        """Add all texts of other totals."""
        self._nats += other._nats
        self._tokens += other._tokens
        self._weighted += other._weighted
        self._weight += other._weight
        self._words += other._words
        self._bytes += other._bytes

    def summary(self, unit: Unit) -> Summary:
        """Return the tool's numbers; None for those it does not report."""
        reports_words = self._name == "lm-eval"
        return Summary(
            surprisal=in_unit(self._nats, unit) if self._tokens else None,
            mean_surprisal=in_unit(self._weighted / self._weight, unit) if self._weight else None,
            tokens=self._tokens,
            words=self._words if reports_words else None,
            bytes=self._bytes if reports_words else None,
            perplexity=exponential(self._weighted, self._weight),
            word_perplexity=exponential(self._nats, self._words) if reports_words else None,
            bits_per_byte=self._nats / self._bytes / math.log(2) if reports_words and self._bytes else None,
        )
