"""Choosing a token: a chain of filters, then a draw.

The filters run in the order of this file. They agree with the processors of the same names in Hugging Face
transformers; presence and frequency penalties are those of the OpenAI API.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from gpt2cli.errors import Error
from gpt2cli.generation.choice.philox import uniform
from gpt2cli.generation.settings import SamplingSettings

if TYPE_CHECKING:
    from gpt2cli.generation.choice.seen_ids import Counts, Integers, SeenIds
    from gpt2cli.ops.operations import Ops

Scores: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
# Integer indices in ascending order.
Places: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]
NEVER = np.float32(-np.inf)
# Tokens this many times less likely than the mass outside the nucleus are not sorted at first.
UNLIKELY = 256
# In place of a chosen token.
NOT_A_NUMBER, ALL_BANNED = -1, -2


class SequenceBias(NamedTuple):
    """A sequence of ids and the logits added to its last id; minus infinity bans the sequence."""

    ids: tuple[int, ...]
    bias: float


class Filters(NamedTuple):
    """How a token is chosen from its adjusted logits; `position` is that of the draw, in [0, 1)."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    position: float


class Sampler:
    """Choose tokens; a draw depends only on seed, sample and step, never on the batch."""

    def __init__(
        self,
        settings: SamplingSettings,
        seed: int,
        biases: Sequence[SequenceBias] = (),
        *,
        min_tokens: int = 0,
        end_ids: Sequence[int] = (),
    ) -> None:
        """Create a sampler that never chooses an end id before `min_tokens` others.

        Raises:
            ValueError: a bias has no ids.
        """
        if not all(entry.ids for entry in biases):
            raise ValueError("a bias needs at least one id")
        self.settings = settings
        self.seed = seed
        self.biases = tuple(biases)
        self.min_tokens = min_tokens
        self.end_ids = tuple(end_ids) if min_tokens else ()

    def top_needed(self, count: int) -> int | None:
        """Return how many of the highest logits the choice after `count` ids needs, or None for all."""
        settings = self.settings
        penalties = (
            settings.repetition_penalty - 1.0,
            settings.presence_penalty,
            settings.frequency_penalty,
            settings.no_repeat_ngram,
        )
        kept = 1 if settings.temperature == 0.0 else settings.top_k
        # Any token may become likelier and be chosen.
        if kept == 0 or min(penalties) < 0 or any(entry.bias > 0.0 for entry in self.biases):
            return None
        # For each token that becomes less likely, another one may move up.
        return kept + len(self.biases) + len(self.end_ids) + (count if any(penalties) else 0)

    def adjusts(self, step: int) -> bool:
        """Return whether the choice at a step depends on more than the logits and the filters."""
        settings = self.settings
        is_neutral = (
            settings.repetition_penalty == 1.0
            and settings.presence_penalty == settings.frequency_penalty == 0.0
            and settings.no_repeat_ngram == 0
        )
        return not is_neutral or bool(self.biases) or step < self.min_tokens

    def choose(self, logits: Scores, ids: Sequence[int], prompt_length: int, sample: int) -> int:
        """Return the id that follows `ids`, given its logits of shape (vocabulary,).

        Raises:
            Error: the logits are NaN, or every token is banned.
        """
        scores = self.adjust(logits, self.seen(ids, prompt_length))
        chosen = choose(scores, *self.filters(len(ids) - prompt_length, sample))
        return require_token(chosen)

    def filters(self, step: int, sample: int) -> Filters:
        """Return how the token of a step is chosen from its adjusted logits."""
        settings = self.settings
        temperature, position = settings.temperature, 0.0
        if temperature:
            position = uniform(self.seed, sample, step)
        return Filters(temperature, settings.top_k, settings.top_p, settings.min_p, position)

    def seen(self, text: Sequence[int], prompt_length: int) -> SeenIds:
        """Return what `adjust` needs to know of a text, which may grow."""
        # Few settings need it.
        from gpt2cli.generation.choice.seen_ids import SeenIds

        return SeenIds(text, prompt_length, self.settings.no_repeat_ngram)

    def adjust(self, logits: Scores, seen: SeenIds) -> Scores:
        """Return the logits of what follows a text with all penalties, biases and bans."""
        settings, scores = self.settings, logits
        if settings.repetition_penalty != 1.0:
            scores = penalize_repetition(scores, seen.all.current().ids, settings.repetition_penalty)
        if settings.presence_penalty != 0.0 or settings.frequency_penalty != 0.0:
            penalties = settings.presence_penalty, settings.frequency_penalty
            scores = penalize_presence(scores, seen.generated.current(), *penalties)
        scores = add_biases(scores, seen.text, self.biases)
        if len(seen.text) - seen.prompt_length < self.min_tokens:
            scores = ban(scores, self.end_ids)
        if settings.no_repeat_ngram:
            scores = ban(scores, seen.repeats.current())
        return scores


def choose_each(ops: Ops[Any], rows: Sequence[Scores], filters: Sequence[Filters]) -> list[int]:
    """Return what is chosen from each row of adjusted logits (vocabulary,), or NOT_A_NUMBER or ALL_BANNED."""
    chosen = ops.choose(rows, filters) if rows else []
    if chosen is None:
        return [choose(row, *filter_) for row, filter_ in zip(rows, filters, strict=True)]
    return chosen


def choose(
    scores: Scores, temperature: float, top_k: int, top_p: float, min_p: float, position: float
) -> int:
    """Return the index of the chosen score, or NOT_A_NUMBER or ALL_BANNED."""
    best = int(scores.argmax())
    if not scores[best] < np.inf:
        return NOT_A_NUMBER
    if scores[best] == NEVER:
        return ALL_BANNED
    if temperature == 0.0:
        return best
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        scores = scores / np.float32(temperature)
    # At this temperature no other token can be drawn.
    if not np.isfinite(scores[best]):
        return best
    # Few tokens are usually left, so the rest is cheap.
    kept = keep_top_k(scores, top_k)
    kept = kept[keep_top_p(scores[kept], top_p)]
    kept = kept[keep_min_p(scores[kept], min_p)]
    return int(kept[draw(scores[kept], position)])


def require_token(chosen: int) -> int:
    """Return a chosen token.

    Raises:
        Error: it is NOT_A_NUMBER or ALL_BANNED.
    """
    if chosen == NOT_A_NUMBER:
        raise Error("The model produced NaN.", "Its weights may be damaged.")
    if chosen == ALL_BANNED:
        raise Error("Every token is banned here.", "Ban less, or allow longer repeats.")
    return chosen


def penalize_repetition(scores: Scores, seen: Integers, penalty: float) -> Scores:
    """Divide the positive scores of seen ids by the penalty and multiply the negative ones.

    Keskar et al., "CTRL: A Conditional Transformer Language Model for Controllable Generation" (2019).
    """
    chosen = scores[seen]
    penalized = scores.copy()
    penalized[seen] = np.where(chosen < 0.0, chosen * np.float32(penalty), chosen / np.float32(penalty))
    return penalized


def penalize_presence(scores: Scores, generated: Counts, presence: float, frequency: float) -> Scores:
    """Subtract `presence` from the scores of generated ids, and `frequency` times their counts."""
    penalized = scores.copy()
    penalized[generated.ids] -= (presence + frequency * generated.times).astype(np.float32)
    return penalized


def add_biases(scores: Scores, ids: Sequence[int], biases: Sequence[SequenceBias]) -> Scores:
    """Add each bias to the last id of its sequence if `ids` end with the ids before it."""
    if not biases:
        return scores
    biased = scores.copy()
    for entry in biases:
        *before, last = entry.ids
        if not before or list(ids[-len(before) :]) == before:
            biased[last] += np.float32(entry.bias)
    return biased


def ban(scores: Scores, ids: Sequence[int]) -> Scores:
    """Ban ids."""
    if not ids:
        return scores
    banned = scores.copy()
    banned[np.asarray(ids)] = NEVER
    return banned


def keep_top_k(scores: Scores, k: int) -> Places:
    """Return the indices of the k highest scores, ties with the lowest included; 0 keeps all.

    Banned tokens are never included.
    """
    lowest = np.partition(scores, -k)[-k] if 0 < k < len(scores) else NEVER
    return np.flatnonzero(scores >= lowest if lowest > NEVER else scores > NEVER)


def keep_top_p(scores: Scores, p: float) -> Places:
    """Return the indices of the fewest likeliest tokens whose probabilities sum to at least p.

    Holtzman et al., "The Curious Case of Neural Text Degeneration" (2019).
    """
    if p >= 1.0:
        return np.arange(len(scores))
    weights = _weights(scores)
    total = weights.sum()
    # Sorting all tokens can take longer than a forward pass, and few are needed to reach p.
    least = min((1.0 - p) * total / UNLIKELY, weights.max())
    likely = np.flatnonzero(weights >= least)
    while (rest := total - weights[likely].sum()) > (1.0 - p) * total:
        least /= UNLIKELY
        likely = np.flatnonzero(weights >= least)
    rising = likely[np.argsort(scores[likely], kind="stable")]
    below = rest + np.cumsum(weights[rising])
    # The likeliest token is always kept.
    first = min(np.searchsorted(below, (1.0 - p) * total, side="right"), len(rising) - 1)
    return np.sort(rising[first:])


def keep_min_p(scores: Scores, p: float) -> Places:
    """Return the indices of tokens that are at least p times as likely as the likeliest.

    Nguyen et al., "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs" (2024).
    """
    if p == 0.0:
        return np.arange(len(scores))
    return np.flatnonzero(scores >= scores.max() + np.float32(math.log(p)))


def draw(scores: Scores, position: float) -> int:
    """Return the index at `position`, in [0, 1), of the cumulative distribution of unbanned scores."""
    cumulative = np.cumsum(_weights(scores))
    index = np.searchsorted(cumulative, position * cumulative[-1], side="right")
    return min(int(index), len(scores) - 1)


def log_softmax(logits: Scores) -> Scores:
    """Return the log-probabilities, in nats, of logits (..., vocabulary)."""
    shifted: Scores = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64)).astype(np.float32)
    return shifted


def _weights(scores: Scores) -> np.ndarray[Any, np.dtype[np.float64]]:
    # In double precision, so that backends with different rounding draw the same token.
    weights: np.ndarray[Any, np.dtype[np.float64]] = np.exp(scores.astype(np.float64) - scores.max())
    return weights
