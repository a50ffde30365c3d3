"""Minimal pairs: the same item under several conditions, compared region by region."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, Any

from gpt2cli.errors import UsageError
from gpt2cli.scoring.pairs.sentences import Sentence
from gpt2cli.scoring.rows import NATS_PER
from gpt2cli.scoring.scored_text import ScoredToken
from gpt2cli.scoring.settings import Unit
from gpt2cli.text.token_text import token_text

if TYPE_CHECKING:
    from gpt2cli.scoring.text_scorer import Scoring

# The white space of bytes.isspace, because tokens are bytes.
WHITE_SPACE = " \t\n\r\v\f"
MEAN = "mean"


@dataclass(frozen=True)
class RegionScore:
    """The surprisal of a region of a sentence; None if a part of it was not scored."""

    item: str
    condition: str
    region: int
    text: str
    surprisal: float | None
    label: str | None = None


@dataclass(frozen=True)
class ContrastRow:
    """A region of an item under two conditions; correct if the first is less surprising."""

    item: str
    region: int
    condition_1: str
    condition_2: str
    text_1: str
    text_2: str
    surprisal_1: float | None
    surprisal_2: float | None
    difference: float | None
    correct: bool | None
    label: str | None = None


@dataclass(frozen=True)
class Contrast:
    """The means of a region over all items under two conditions; `accuracy` is the share of correct items."""

    region: int
    condition_1: str
    condition_2: str
    items: int
    surprisal_1: float | None
    surprisal_2: float | None
    difference: float | None
    accuracy: float | None
    label: str | None = None


def region_scores(sentence: Sentence, tokens: Sequence[ScoredToken], unit: Unit) -> Iterator[RegionScore]:
    """Yield the score of each region, which includes the white space before it, as a word does.

    Raises:
        UsageError: a region begins or ends within a token.
    """
    for number, (start, end) in enumerate(sentence.regions, 1):
        inside = [token for token in tokens if _is_inside(token, sentence, start, end)]
        if len(inside) == len(tokens):
            # Without BOS, the first token has no score in any condition.
            inside = [token for token in tokens if token.logprob is not None]
        surprisal = _surprisal([token.logprob for token in inside], unit)
        content = sentence.text.content[start:end]
        label = sentence.labels[number - 1]
        yield RegionScore(sentence.item, sentence.condition, number, content, surprisal, label)


def contrast_rows(scores: Iterable[RegionScore]) -> list[ContrastRow]:
    """Return the regions of each item under each pair of its conditions, in order of appearance."""
    found: dict[str, dict[str, dict[int, RegionScore]]] = {}
    order: dict[str, int] = {}
    for score in scores:
        order.setdefault(score.condition, len(order))
        found.setdefault(score.item, {}).setdefault(score.condition, {})[score.region] = score
    return [
        _compare(conditions[first][region], conditions[second][region])
        for conditions in found.values()
        for first, second in combinations(sorted(conditions, key=order.__getitem__), 2)
        for region in conditions[first]
    ]


def contrasts(rows: Iterable[ContrastRow]) -> list[Contrast]:
    """Return the means over all items for each region and pair of conditions, without missing scores."""
    groups: dict[tuple[int, str, str], list[ContrastRow]] = {}
    for row in rows:
        groups.setdefault((row.region, row.condition_1, row.condition_2), []).append(row)
    return [
        Contrast(
            *key,
            len(group),
            _mean(row.surprisal_1 for row in group),
            _mean(row.surprisal_2 for row in group),
            _mean(row.difference for row in group),
            _mean(row.correct for row in group),
            group[0].label if len({row.label for row in group}) == 1 else None,
        )
        for key, group in groups.items()
    ]


@dataclass(frozen=True)
class Comparison:
    """Minimal pairs compared: a row for each item, region and pair of conditions, and the means."""

    rows: Sequence[ContrastRow]
    contrasts: Sequence[Contrast]

    def records(self, with_means: bool) -> list[dict[str, Any]]:
        """Return the rows as records, followed by the means as rows of an item called `mean` if requested.

        `correct` is 1 or 0, in a row of means the accuracy.
        """
        records: list[dict[str, Any]] = [
            {**vars(row), "correct": None if row.correct is None else int(row.correct)} for row in self.rows
        ]
        if with_means:
            records += [{**vars(mean), "item": MEAN, "correct": mean.accuracy} for mean in self.contrasts]
        return records


def compare_pairs(scoring: Scoring, sentences: Iterable[Sentence]) -> Comparison:
    """Score sentences and compare their regions.

    Raises:
        UsageError: a region begins or ends within a token.
        Error: the model produced NaN.
    """
    texts = ((sentence, sentence.text) for sentence in sentences)
    rows = contrast_rows(
        score
        for sentence, _, tokens in scoring.scorer.tokens(texts)
        for score in region_scores(sentence, list(tokens), scoring.unit)
    )
    return Comparison(rows, contrasts(rows))


def _is_inside(token: ScoredToken, sentence: Sentence, start: int, end: int) -> bool:
    visible = token.data.strip()
    if not visible:
        before = len(sentence.text.content[:start].rstrip(WHITE_SPACE))
        return before <= token.start and token.end <= end
    first = token.start + len(token.data) - len(token.data.lstrip())
    last = token.end - len(token.data) + len(token.data.rstrip())
    inside = start <= first and last <= end
    if not inside and first < end and start < last:
        raise UsageError(
            f"Line {sentence.line}: a region begins or ends within the token {token_text(visible)!r}.",
            "Move its brackets to a token boundary.",
        )
    return inside


def _surprisal(logprobs: Sequence[float | None], unit: Unit) -> float | None:
    present = [logprob for logprob in logprobs if logprob is not None]
    if not present or len(present) < len(logprobs):
        return None
    return 0.0 - math.fsum(present) / NATS_PER[unit]


def _compare(first: RegionScore, second: RegionScore) -> ContrastRow:
    difference = correct = None
    if first.surprisal is not None and second.surprisal is not None:
        difference = second.surprisal - first.surprisal
        correct = difference > 0.0
    return ContrastRow(
        first.item,
        first.region,
        first.condition,
        second.condition,
        first.text,
        second.text,
        first.surprisal,
        second.surprisal,
        difference,
        correct,
        first.label,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present else None
