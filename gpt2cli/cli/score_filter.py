"""Lines that pass a condition on their scores."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpt2cli.cli.input.lines import line_blocks
from gpt2cli.cli.options.scoring import Scoring
from gpt2cli.errors import UsageError

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
    """Compare a metric of a text with a number."""

    metric: str
    operator: str
    bound: float

    def holds(self, value: float | None) -> bool:
        """Tell whether a value passes; one that does not exist never does."""
        return value is not None and OPERATORS[self.operator](value, self.bound)


def parse_condition(text: str) -> Condition:
    """Read a condition such as `ppl<50`.

    Raises:
        UsageError: it is of another form, or the metric is unknown.
    """
    found = _CONDITION.fullmatch(text)
    try:
        bound = float(found[3]) if found else None
    except ValueError:
        bound = None
    if found is None or bound is None or bound != bound:
        raise UsageError(f"--filter {text!r} is not a condition.", "Write one such as 'ppl<50'.")
    metric = ALIASES.get(found[1], found[1])
    if metric not in METRICS:
        raise UsageError(
            f"--filter knows no {found[1]!r}.", f"It knows {', '.join((*ALIASES, *METRICS[1:]))}."
        )
    return Condition(metric, found[2], bound)


def filter_lines(
    scoring: Scoring, sources: Sequence[str], condition: Condition, write: Callable[[bytes], object]
) -> None:
    """Write the lines that pass as they are, in their order, each scored by itself as soon as it is there.

    Raises:
        InputError: a source cannot be read, or a line is not UTF-8.
    """
    from gpt2cli.scoring.scored_text import Text

    for block in line_blocks(sources):
        texts = ((line, Text(line.text)) for line in block)
        for line, summary in scoring.scorer.summaries(texts, scoring.unit):
            if condition.holds(getattr(summary, condition.metric)):
                write(line.data)
