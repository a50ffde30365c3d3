"""Conditions on scores, such as `ppl<50`, and the texts that meet them."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from gpt2cli.errors import UsageError

if TYPE_CHECKING:
    from gpt2cli.scoring.text_scorer import Scoring

Key = TypeVar("Key")

METRICS = (
    *("perplexity", "word_perplexity", "surprisal", "mean_surprisal", "bits_per_byte"),
    *("tokens", "words", "bytes"),
)
ALIASES = {"ppl": "perplexity"}
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*([-+.\w]+)\s*")


@dataclass(frozen=True)
class Condition:
    """A metric of a text compared with a number."""

    metric: str
    operator: str
    bound: float

    def holds(self, value: float | None) -> bool:
        """Return whether a value meets the condition; None never does."""
        return value is not None and OPERATORS[self.operator](value, self.bound)


def parse_condition(text: str) -> Condition:
    """Parse a condition such as `ppl<50`.

    Raises:
        UsageError: it has another form, or the metric is unknown.
    """
    found = _CONDITION.fullmatch(text)
    try:
        bound = float(found[3]) if found else math.nan
    except ValueError:
        bound = math.nan
    if found is None or math.isnan(bound):
        raise UsageError(f"{text!r} is not a condition.", "Write one such as 'ppl<50'.")
    metric = ALIASES.get(found[1], found[1])
    if metric not in METRICS:
        raise UsageError(
            f"{found[1]!r} is not a metric.", f"The metrics are {', '.join((*ALIASES, *METRICS))}."
        )
    return Condition(metric, found[2], bound)


def passing(scoring: Scoring, texts: Iterable[tuple[Key, str]], condition: Condition) -> Iterator[Key]:
    """Yield the keys of the texts that meet a condition, in order.

    Raises:
        Error: the model produced NaN.
    """
    for key, summary in scoring.summaries(texts):
        if condition.holds(getattr(summary, condition.metric)):
            yield key
