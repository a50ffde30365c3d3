"""Where attention heads look: their patterns, and what each pattern amounts to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias

import numpy as np

from gpt2cli.errors import Error, UsageError
from gpt2cli.inspection.passage import read_passage
from gpt2cli.inspection.settings import HeadName, PassageSettings
from gpt2cli.model.decoder import hidden_states
from gpt2cli.model.loading import LoadedModel
from gpt2cli.model.model import Model
from gpt2cli.ops.operations import A, Ops

# Of one head (time, time), or of all heads of a layer (heads, time, time): rows are queries, and sum to 1.
Pattern: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
# What is kept of each pattern for an overview has at most this many rows.
MOST_ROWS = 48


@dataclass(frozen=True)
class HeadRow:
    """Means over the tokens of a text but the first one, which can only attend to itself.

    `distance` is in tokens. `first`, `previous` and `itself` are the attention to these tokens, and
    `induction` is the attention to tokens that followed earlier occurrences of the same token, over the
    tokens that have any, or None. `entropy` is in bits. All are None if the text has one token.

    Olsson et al., "In-context Learning and Induction Heads" (2022).
    """

    layer: int
    head: int
    distance: float | None
    first: float | None
    previous: float | None
    itself: float | None
    entropy: float | None
    induction: float | None


@dataclass(frozen=True)
class WeightRow:
    """How much a head lets one token attend to another; indices count tokens from 1, and BOS is 0."""

    layer: int
    head: int
    index: int
    text: str
    attends_to: int
    attended_token: str
    weight: float


class Attention:
    """The heads of a model on a text: a summary and a small picture of each, and the whole pattern of one.

    `thumbnails` are patterns of which the highest weights are kept where there are too many rows.

    Raises:
        UsageError: the text does not fit the context, or there is no such head.
        InputError: the text is not Unicode.
        Error: the model produced NaN.
    """

    def __init__(
        self, loaded: LoadedModel, text: str, settings: PassageSettings, head: HeadName | None = None
    ) -> None:
        config = loaded.model.config
        if head and not (0 <= head.layer < config.n_layer and 0 <= head.head < config.n_head):
            last = HeadName(config.n_layer - 1, config.n_head - 1)
            raise UsageError(f"There is no head {head}.", f"They are 0.0 to {last}, as LAYER.HEAD.")
        self.passage = read_passage(loaded, text, settings)
        self.heads: list[HeadRow] = []
        self.thumbnails: dict[HeadName, Pattern] = {}
        self.pattern: Pattern | None = None
        self._head = head
        see_attention(loaded.model, self.passage.ids, self._see)

    def weights(self) -> Iterator[WeightRow]:
        """Yield the weights of the chosen head, query by query."""
        assert self._head is not None
        assert self.pattern is not None
        passage = self.passage
        for query, row in enumerate(self.pattern.tolist()):
            for key, weight in enumerate(row[: query + 1]):
                texts = passage.texts[query], passage.texts[key]
                yield WeightRow(
                    *self._head, passage.index(query), texts[0], passage.index(key), texts[1], weight
                )

    def _see(self, layer: int, patterns: Pattern) -> None:
        repeats = repeats_of(self.passage.ids)
        for number, pattern in enumerate(patterns):
            self.heads.append(summarize(layer, number, pattern, repeats))
            self.thumbnails[HeadName(layer, number)] = pooled(pattern, MOST_ROWS)
        if self._head and self._head.layer == layer:
            self.pattern = patterns[self._head.head]


def see_attention(model: Model[A], ids: Sequence[int], see: Callable[[int, Pattern], None]) -> None:
    """Read ids, and call `see` with the number of each layer and the patterns of its heads.

    Raises:
        Error: the model produced NaN.
    """
    hidden_states(model, model.ops.token_ids([ids]), watch=_PatternWatcher(model.ops, see))


def attention_patterns(model: Model[A], ids: Sequence[int]) -> list[Pattern]:
    """Return the patterns (heads, time, time) of each layer.

    Raises:
        Error: the model produced NaN.
    """
    found: list[Pattern] = []
    see_attention(model, ids, lambda _, patterns: found.append(patterns))
    return found


def pooled(pattern: Pattern, most: int) -> Pattern:
    """Return the highest weights of at most `most` runs of rows and of columns."""
    length = len(pattern)
    if length <= most:
        return pattern.copy()
    starts = np.arange(most) * length // most
    kept: Pattern = np.maximum.reduceat(np.maximum.reduceat(pattern, starts, axis=0), starts, axis=1)
    return kept


class _PatternWatcher(Generic[A]):
    def __init__(self, ops: Ops[A], see: Callable[[int, Pattern], None]) -> None:
        self._ops = ops
        self._see = see

    def residual(self, layer: int, x: A) -> None:
        """Do nothing."""

    def attention(self, layer: int, queries: A, keys: A, scale: float, window: int | None) -> None:
        """Compute the patterns of a layer from the first row of the batch."""
        to_numpy = self._ops.to_numpy
        self._see(layer, _patterns(to_numpy(queries)[0], to_numpy(keys)[0], scale, window))


def _patterns(queries: Pattern, keys: Pattern, scale: float, window: int | None) -> Pattern:
    """Return the patterns of queries (time, heads, head width) and keys (time, kv heads, head width)."""
    time, heads, width = queries.shape
    kv_heads = keys.shape[1]
    scaled = (queries * np.float32(scale)).swapaxes(0, 1)
    grouped = scaled.reshape(kv_heads, heads // kv_heads, time, width)
    products: Any = grouped @ keys.transpose(1, 2, 0)[:, np.newaxis]
    scores: Pattern = products.reshape(heads, time, time)
    seen = np.tri(time, dtype=bool)
    if window:
        seen &= ~np.tri(time, k=-window, dtype=bool)
    np.copyto(scores, -np.inf, where=~seen)
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    if np.isnan(scores).any():
        raise Error("The model produced NaN.", "Its weights may be damaged.")
    return scores


def repeats_of(ids: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Return each place whose token occurred before, with the places after its earlier occurrences."""
    found, after = [], dict[int, list[int]]()
    for place, token in enumerate(ids):
        if token in after:
            found.append((place, list(after[token])))
        after.setdefault(token, []).append(place + 1)
    return found


def summarize(layer: int, head: int, pattern: Pattern, repeats: Sequence[tuple[int, list[int]]]) -> HeadRow:
    """Return what the pattern of a head amounts to; `repeats` are those of `repeats_of`."""
    time = len(pattern)
    if time < 2:
        return HeadRow(layer, head, *[None] * 6)
    rows = pattern[1:].astype(np.float64)
    distances = np.maximum(np.arange(1, time)[:, np.newaxis] - np.arange(time), 0)
    entropies = -(rows * np.log2(np.where(rows > 0.0, rows, 1.0))).sum(axis=1)
    copied = [float(pattern[place, keys].sum()) for place, keys in repeats]
    return HeadRow(
        layer,
        head,
        float((rows * distances).sum(axis=1).mean()),
        float(rows[:, 0].mean()),
        float(np.diagonal(rows).mean()),
        float(np.diagonal(rows, 1).mean()),
        max(float(entropies.mean()), 0.0),
        math.fsum(copied) / len(copied) if copied else None,
    )
