"""Minimal pairs: read in any of their forms, compared and written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpt2cli.cli.input.text import read_text, source_name
from gpt2cli.cli.output.rows import RowOutput

if TYPE_CHECKING:
    from gpt2cli.cli.output.messages import Messages
    from gpt2cli.scoring.pairs.sentences import Sentence
    from gpt2cli.scoring.pairs.suites import Suite
    from gpt2cli.scoring.text_scorer import Scoring
    from gpt2cli.text.reading.notes import TextNotes


def read_pairs(source: str, messages: Messages) -> list[Sentence] | Suite:
    """Return the pairs of a file, in the form that they have; a note names items that lack a condition.

    Raises:
        UsageError, InputError: it cannot be read, or has none of the forms.
    """
    from gpt2cli.scoring.pairs.formats import parse
    from gpt2cli.scoring.pairs.sentences import missing_conditions

    name = source_name(source)
    found = parse(read_text(source), name)
    if isinstance(found, list) and (missing := missing_conditions(found)):
        messages.note(f"note: {name}: {missing}")
    return found


def write_pairs(
    scoring: Scoring,
    pairs: Sequence[Sentence] | Suite,
    notes: TextNotes,
    table: RowOutput,
    messages: Messages,
) -> None:
    """Compare pairs and write a row for each, with means.

    Raises:
        UsageError, InputError, Error: as `compared_records` does.
    """
    from gpt2cli.cli.output.progress.items import item_progress
    from gpt2cli.scoring.pairs.records import compared_records
    from gpt2cli.scoring.pairs.suites import Suite

    count = len(pairs.sentences if isinstance(pairs, Suite) else pairs)
    with item_progress(messages, count) as watched:
        rows = compared_records(scoring, pairs, notes.check, table.kind == "tsv", watched)
    table.write_rows(scoring.metadata, rows.columns, rows.records, lambda: rows.means)
