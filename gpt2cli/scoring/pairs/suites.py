"""Test suites of SyntaxGym: items under conditions in regions, and the predictions that they are for.

Gauthier et al., "SyntaxGym: An Online Platform for Targeted Evaluation of Language Models" (2020).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from gpt2cli.errors import InputError, brief, shown
from gpt2cli.scoring.pairs.comparison import MEAN, region_scores
from gpt2cli.scoring.pairs.sentences import Sentence
from gpt2cli.scoring.scored_text import Text

if TYPE_CHECKING:
    from gpt2cli.scoring.text_scorer import Scoring

# As SyntaxGym decides whether two sums are equal.
RELATIVE, ABSOLUTE = 1e-5, 1e-3
_PART = re.compile(r"\s*(?:\((\d+|\*);%([^%]+)%\)|(\d+(?:\.\d*)?|\.\d+)|([-+<>=&|()\[\]]))")
Sums = Mapping[tuple[str, str], float]
Formula = Callable[[Sums], Any]


@dataclass(frozen=True)
class Prediction:
    """A formula over the surprisals of regions, such as `(2;%mismatch%) > (2;%match%)`."""

    text: str
    holds: Formula


class SuiteSentence(NamedTuple):
    """A sentence, the numbers of its regions, and the numbers of those that are empty."""

    sentence: Sentence
    numbers: Sequence[str]
    empty: Sequence[str]


@dataclass(frozen=True)
class Suite:
    """The sentences of a suite, and its predictions."""

    name: str
    sentences: Sequence[SuiteSentence]
    predictions: Sequence[Prediction]


@dataclass(frozen=True)
class VerdictRow:
    """Whether a prediction holds for an item."""

    item: str
    prediction: int
    formula: str
    correct: bool


def parse_suite(value: Any, name: str) -> Suite:
    """Return the suite that JSON describes; `name` is for messages.

    Raises:
        InputError: it describes none.
    """
    try:
        predictions = [_prediction(entry["formula"], name) for entry in value["predictions"]]
        sentences = [
            _sentence(str(item["item_number"]), condition, name)
            for item in value["items"]
            for condition in item["conditions"]
        ]
        title = str(value.get("meta", {}).get("name", name))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{name} is no test suite of SyntaxGym: {error} is missing or damaged.") from error
    return Suite(title, sentences, predictions)


def verdicts(
    scoring: Scoring, sentences: Iterable[SuiteSentence], predictions: Sequence[Prediction]
) -> list[VerdictRow]:
    """Return whether each prediction holds for each item of the sentences.

    Raises:
        UsageError: a region begins or ends within a token.
        InputError: a prediction names a region or a condition that an item does not have.
        Error: the model produced NaN.
    """
    sums: dict[str, dict[tuple[str, str], float]] = {}
    texts = ((entry, entry.sentence.text) for entry in sentences)
    for (sentence, numbers, empty), _, tokens in scoring.scorer.tokens(texts):
        found = sums.setdefault(sentence.item, {})
        found |= {(sentence.condition, number): 0.0 for number in empty}
        # An equality has a tolerance in bits.
        scores = region_scores(sentence, list(tokens), "bits")
        for number, score in zip(numbers, scores, strict=True):
            found[sentence.condition, number] = score.surprisal or 0.0
    return [
        VerdictRow(item, number, prediction.text, _holds(prediction, found, item))
        for item, found in sums.items()
        for number, prediction in enumerate(predictions, 1)
    ]


def verdict_records(rows: Sequence[VerdictRow], with_means: bool) -> list[dict[str, Any]]:
    """Return verdicts as records, 1 or 0, and then the accuracy of each prediction if requested."""
    records: list[dict[str, Any]] = [{**vars(row), "correct": int(row.correct)} for row in rows]
    return records + accuracies(rows) if with_means else records


def accuracies(rows: Iterable[VerdictRow]) -> list[dict[str, Any]]:
    """Return the share of items for which each prediction holds, as records of the item `mean`."""
    groups: dict[tuple[int, str], list[bool]] = {}
    for row in rows:
        groups.setdefault((row.prediction, row.formula), []).append(row.correct)
    return [
        {"item": MEAN, "prediction": number, "formula": formula, "correct": sum(found) / len(found)}
        for (number, formula), found in groups.items()
    ]


def _sentence(item: str, condition: Any, name: str) -> SuiteSentence:
    content, spans, numbers, empty = "", [], [], []
    for region in condition["regions"]:
        part, number = str(region["content"]).strip(), str(region["region_number"])
        if not part:
            empty.append(number)
            continue
        content += f" {part}" if content else part
        spans.append((len(content) - len(part), len(content)))
        numbers.append(number)
    if not content:
        raise InputError(f"{name}: item {brief(item)} has no text.")
    labels = (None,) * len(spans)
    sentence = Sentence(item, str(condition["condition_name"]), Text(content), tuple(spans), 0, labels)
    return SuiteSentence(sentence, numbers, empty)


def _holds(prediction: Prediction, sums: Sums, item: str) -> bool:
    try:
        return bool(prediction.holds(sums))
    except KeyError as error:
        lacking = f"Item {brief(item)} lacks what {shown(prediction.text)} is about"
        raise InputError(f"{lacking}: {shown(error.args[0])}.") from error
    except RecursionError as error:
        raise _too_deep(prediction.text) from error


def _prediction(text: str, name: str) -> Prediction:
    parts = list(_parts(text, name))
    try:
        formula, rest = _binary(parts, 0)
    except RecursionError as error:
        raise _too_deep(text) from error
    if rest:
        raise InputError(f"{name}: the prediction {shown(text)} is no formula.")
    return Prediction(text, formula)


def _too_deep(text: str) -> InputError:
    return InputError(f"The prediction {shown(text)} has too many parts.")


def _parts(text: str, name: str) -> Iterator[re.Match[str]]:
    position, end = 0, len(text.rstrip())
    while position < end:
        found = _PART.match(text, position)
        if not found:
            raise InputError(f"{name}: the prediction {shown(text)} is no formula.")
        yield found
        position = found.end()


def _close(left: float, right: float) -> bool:
    # That of numpy.isclose.
    return abs(left - right) <= ABSOLUTE + RELATIVE * abs(right)


# From those that bind least, as SyntaxGym's grammar has them.
LEVELS: Sequence[Mapping[str, Callable[[Any, Any], Any]]] = (
    {"|": lambda left, right: left or right},
    {"&": lambda left, right: left and right},
    {"=": _close},
    {">": operator.gt},
    {"<": operator.lt},
    {"-": operator.sub},
    {"+": operator.add},
)


def _binary(parts: list[re.Match[str]], level: int) -> tuple[Formula, list[re.Match[str]]]:
    if level == len(LEVELS):
        return _atom(parts)
    left, rest = _binary(parts, level + 1)
    while rest and rest[0][4] in LEVELS[level]:
        combine = LEVELS[level][rest[0][4]]
        right, rest = _binary(rest[1:], level + 1)
        left = _combined(combine, left, right)
    return left, rest


def _combined(combine: Callable[[Any, Any], Any], left: Formula, right: Formula) -> Formula:
    return lambda sums: combine(left(sums), right(sums))


def _atom(parts: list[re.Match[str]]) -> tuple[Formula, list[re.Match[str]]]:
    if not parts:
        raise InputError("A prediction ends too early.")
    first, rest = parts[0], parts[1:]
    if first[1]:
        return _region(first[1], first[2]), rest
    if first[3]:
        number = float(first[3])
        return (lambda _: number), rest
    inner, rest = _binary(rest, 0) if first[4] in "([" else (None, rest)
    if inner is None or not rest or rest[0][4] not in (")", "]"):
        raise InputError("A prediction has a bracket or a sign too many.")
    return inner, rest[1:]


def _region(number: str, condition: str) -> Formula:
    if number == "*":
        return lambda sums: sum(value for (name, _), value in sums.items() if name == condition)
    return lambda sums: sums[condition, number]
