"""Compared pairs as records, whichever form they came in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gpt2cli.scoring.pairs.comparison import ContrastRow, compare_pairs
from gpt2cli.scoring.pairs.sentences import Sentence
from gpt2cli.scoring.pairs.suites import Suite, VerdictRow, accuracies, verdict_records, verdicts
from gpt2cli.scoring.rows import row_columns

if TYPE_CHECKING:
    from gpt2cli.scoring.text_scorer import Scoring


class ComparedRecords(NamedTuple):
    """Names of columns, the records, and lists of means by name."""

    columns: Sequence[str]
    records: Sequence[Mapping[str, Any]]
    means: Mapping[str, Sequence[Mapping[str, Any]]]


def compared_records(
    scoring: Scoring,
    pairs: Sequence[Sentence] | Suite,
    check: Callable[[str, str], None],
    with_means: bool,
    watched: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> ComparedRecords:
    """Compare pairs, after `check` has seen each text and its place; `with_means` adds rows of means.

    `watched` passes the sentences through as they are scored.

    Raises:
        UsageError, InputError, Error: as `compare_pairs` and `verdicts` do.
    """
    if isinstance(pairs, Suite):
        for entry in pairs.sentences:
            check(entry.sentence.text.content, f"item {entry.sentence.item}")
        rows = verdicts(scoring, watched(pairs.sentences), pairs.predictions)
        means = {"predictions": accuracies(rows)}
        return ComparedRecords(row_columns(VerdictRow), verdict_records(rows, with_means), means)
    for sentence in pairs:
        check(sentence.text.content, f"line {sentence.line} of the pairs")
    compared = compare_pairs(scoring, watched(pairs))
    contrasts = [vars(contrast) for contrast in compared.contrasts]
    return ComparedRecords(row_columns(ContrastRow), compared.records(with_means), {"contrasts": contrasts})
