"""Every step of sampling, as the sampler takes it: what each filter sees, what it cuts, and the draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gpt2cli.generation.sampling import (
    NEVER,
    Filters,
    Places,
    Sampler,
    Scores,
    choose,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    require_token,
)
from gpt2cli.text.token_text import token_text

if TYPE_CHECKING:
    from gpt2cli.generation.choice.seen_ids import SeenIds
    from gpt2cli.generation.continuation import Continuation
    from gpt2cli.text.tokenizer import Tokenizer

Stage = Literal["ban", "temperature", "top_k", "top_p", "min_p"]
# Of the likeliest tokens, before and after penalties and biases.
LISTED = 20


@dataclass(frozen=True)
class TracedToken:
    """One token at one step.

    `rank` 1 has the highest `adjusted` logit, which is after penalties and biases, None for a banned token.
    `probability` is that at the temperature, among all tokens. `cut` is the filter that drops the token, and
    `chance` its probability of being drawn. A draw from `start` up to `end` chooses it.
    """

    rank: int
    id: int
    text: str
    logit: float
    adjusted: float | None
    probability: float
    cut: Stage | None
    chance: float
    start: float | None
    end: float | None


@dataclass(frozen=True)
class Kept:
    """How many tokens are left after a filter, which is the rank of the last one, and their probability."""

    filter: Stage
    tokens: int
    probability: float


@dataclass(frozen=True)
class TraceStep:
    """One step of a sample: the filters in order, the number drawn, and the token.

    `drawn` is None where only one token could be chosen, as at temperature 0. `tokens` are the likeliest
    before and after penalties and biases, and the chosen one, in the order of their ranks.
    """

    index: int
    step: int
    id: int
    text: str
    rank: int
    temperature: float
    drawn: float | None
    filters: tuple[Kept, ...]
    tokens: tuple[TracedToken, ...]


@dataclass(eq=False, repr=False)
class Trace:
    """The steps of all samples of a run, in the order in which they were taken."""

    steps: list[TraceStep] = field(default_factory=list)


def trace_sampling(run: Continuation) -> Trace:
    """Return a trace that is filled while a run, which has not begun, generates; its draws stay the same."""
    trace = Trace()
    run.wrap_sampler = lambda sampler: TracingSampler(sampler, run.loaded.tokenizer, trace)
    return trace


class TracingSampler(Sampler):
    """The sampler of one sample, which chooses as another one does and adds each step to a trace."""

    def __init__(self, sampler: Sampler, tokenizer: Tokenizer, trace: Trace) -> None:
        super().__init__(sampler.settings, sampler.seed, sampler.biases)
        self.min_tokens = sampler.min_tokens
        self.end_ids = sampler.end_ids
        self._tokenizer = tokenizer
        self._trace = trace
        self._logits = self._adjusted = np.empty(0, np.float32)

    def top_needed(self, count: int) -> int | None:
        """Return None, because a trace has all logits."""
        return None

    def adjusts(self, step: int) -> bool:
        """Return True, because a trace sees all logits."""
        return True

    def adjust(self, logits: Scores, seen: SeenIds) -> Scores:
        """Return the adjusted logits, as `Sampler.adjust` does; `filters` follows for the same step."""
        self._logits = logits
        self._adjusted = super().adjust(logits, seen)
        return self._adjusted

    def filters(self, step: int, sample: int) -> Filters:
        """Return how the token is chosen, as `Sampler.filters` does, and add the step to the trace."""
        filters = super().filters(step, sample)
        chosen = require_token(choose(self._adjusted, *filters))
        draw = _Draw(self._adjusted, filters)
        tokens = tuple(self._tokens(draw, chosen))
        rank = next(token.rank for token in tokens if token.id == chosen)
        self._trace.steps.append(
            TraceStep(
                sample + 1,
                step + 1,
                chosen,
                self._text(chosen),
                rank,
                filters.temperature,
                draw.drawn,
                draw.filters,
                tokens,
            )
        )
        return filters

    def _tokens(self, draw: _Draw, chosen: int) -> Sequence[TracedToken]:
        logits, adjusted = self._logits, self._adjusted
        found = {chosen, *_highest(logits), *_highest(adjusted)}
        listed = sorted(found, key=lambda token: (-adjusted[token], token))
        return [
            TracedToken(
                1 + int(np.count_nonzero(adjusted > adjusted[token])),
                token,
                self._text(token),
                float(logits[token]),
                None if adjusted[token] == NEVER else float(adjusted[token]),
                float(draw.probabilities[token]),
                draw.cut(token),
                *draw.interval(token),
            )
            for token in listed
        ]

    def _text(self, token: int) -> str:
        return token_text(self._tokenizer.token_bytes(token))


class _Draw:
    """What the filters leave of adjusted logits, and the draw among what is left."""

    def __init__(self, adjusted: Scores, filters: Filters) -> None:
        best = int(adjusted.argmax())
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            scores = adjusted / np.float32(filters.temperature)
        self._kept: dict[Stage, Places] = {"ban": np.flatnonzero(adjusted > NEVER)}
        if filters.temperature == 0.0 or not np.isfinite(scores[best]):
            # No other token can be drawn.
            scores = np.full_like(adjusted, NEVER)
            scores[best] = 0.0
            self._kept["temperature"] = kept = np.array([best])
            self.drawn: float | None = None
        else:
            kept = keep_top_k(scores, filters.top_k)
            self._kept["top_k"] = kept
            kept = kept[keep_top_p(scores[kept], filters.top_p)]
            self._kept["top_p"] = kept
            kept = kept[keep_min_p(scores[kept], filters.min_p)]
            self._kept["min_p"] = kept
            self.drawn = filters.position
        self.probabilities = _softmax(scores)
        self._places = {token: place for place, token in enumerate(kept.tolist())}
        self._ends = np.cumsum(_softmax(scores[kept]))
        self.filters = tuple(
            Kept(name, len(places), float(self.probabilities[places].sum()))
            for name, places in self._kept.items()
        )

    def cut(self, token: int) -> Stage | None:
        """Return the filter that drops a token."""
        return next((name for name, places in self._kept.items() if token not in places), None)

    def interval(self, token: int) -> tuple[float, float | None, float | None]:
        """Return a token's chance, and where the draws that choose it start and end."""
        place = self._places.get(token)
        if place is None:
            return 0.0, None, None
        start = float(self._ends[place - 1]) if place else 0.0
        end = float(self._ends[place])
        return end - start, start, end


def _highest(scores: Scores) -> Sequence[int]:
    count = min(LISTED, len(scores))
    found: list[int] = np.argpartition(-scores, count - 1)[:count].tolist()
    return found


def _softmax(scores: Scores) -> np.ndarray[Any, np.dtype[np.float64]]:
    # In double precision, as the draw is.
    weights: np.ndarray[Any, np.dtype[np.float64]] = np.exp(scores.astype(np.float64) - scores.max())
    weights /= weights.sum()
    return weights
