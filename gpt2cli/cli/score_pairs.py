"""Minimal pairs compared: a row an item, a region and two conditions, and their means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from gpt2cli.cli.input.text import read_text, source_name
from gpt2cli.cli.options.scoring import Scoring
from gpt2cli.cli.output.rows import RowOutput

if TYPE_CHECKING:
    from gpt2cli.scoring.pairs import RegionScore, Sentence

MEAN = "mean"


def read_pairs(source: str) -> list[Sentence]:
    """Return the sentences of a file, or of standard input for `-`.

    Raises:
        InputError: it cannot be read.
        UsageError: it is not of the form that pairs have.
    """
    from gpt2cli.scoring.pairs import parse_pairs

    return parse_pairs(read_text(source), source_name(source))


def score_pairs(scoring: Scoring, sentences: Sequence[Sentence], output: RowOutput) -> None:
    """Write a row for each item, region and two conditions, and the means over all items.

    In TSV the means are rows of an item called `mean`; that of `correct`, 1 or 0, is the accuracy.

    Raises:
        UsageError: a region begins or ends within a token.
    """
    from gpt2cli.scoring.pairs import ContrastRow, contrast_rows, contrasts

    rows = contrast_rows(_scores(scoring, sentences))
    sums = contrasts(rows)
    records = [{**vars(row), "correct": None if row.correct is None else int(row.correct)} for row in rows]
    if output.kind == "tsv":
        records += [{**vars(contrast), "item": MEAN, "correct": contrast.accuracy} for contrast in sums]
    columns = [field.name for field in fields(ContrastRow)]
    extra = {"contrasts": [vars(contrast) for contrast in sums]}
    output.write_rows(scoring.metadata, columns, records, lambda: extra)


def _scores(scoring: Scoring, sentences: Sequence[Sentence]) -> Iterator[RegionScore]:
    from gpt2cli.scoring.pairs import region_scores

    texts = ((sentence, sentence.text) for sentence in sentences)
    for sentence, _, tokens in scoring.scorer.tokens(texts):
        yield from region_scores(sentence, list(tokens), scoring.unit)
