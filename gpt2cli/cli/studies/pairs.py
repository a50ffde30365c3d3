"""Minimal pairs: read in any of their forms, compared by one model after another, and written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from gpt2cli.cli.input.text import read_text, source_name
from gpt2cli.cli.options.scoring import ProtocolOptions
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.progress.items import item_progress
from gpt2cli.cli.output.rows import RowOutput
from gpt2cli.cli.output.timing import print_timing
from gpt2cli.local_model import LocalModel
from gpt2cli.scoring.pairs.formats import parse
from gpt2cli.scoring.pairs.records import ComparedRecords, compared_records
from gpt2cli.scoring.pairs.sentences import Sentence, missing_conditions
from gpt2cli.scoring.pairs.suites import Suite
from gpt2cli.scoring.text_scorer import open_scoring


def read_pairs(source: str, messages: Messages) -> list[Sentence] | Suite:
    """Return the pairs of a file, in the form that they have; a note names items that lack a condition.

    Raises:
        UsageError, InputError: it cannot be read, or has none of the forms.
    """
    name = source_name(source)
    found = parse(read_text(source), name)
    if isinstance(found, list) and (missing := missing_conditions(found)):
        messages.note(f"note: {name}: {missing}")
    return found


def score_pairs(
    pairs: Sequence[Sentence] | Suite,
    loading: Sequence[Callable[[], LocalModel]],
    settings: ProtocolOptions,
    table: RowOutput,
    messages: Messages,
) -> None:
    """Compare pairs by each model and write a row for each, with means; `loading` is as in `score_items`.

    Raises:
        UsageError, InputError, Error: as `compared_records` does.
    """
    count = len(pairs.sentences if isinstance(pairs, Suite) else pairs)
    done: list[tuple[dict[str, Any], ComparedRecords]] = []
    for number, load in enumerate(loading):
        model = load()
        start = time.perf_counter()
        scoring = open_scoring(model, settings)
        notes = settings.notes(messages.note, model.tokenizer, None)
        with item_progress(messages, count * len(loading), count * number) as watched:
            rows = compared_records(scoring, pairs, notes.check, table.kind == "tsv", watched)
        done.append((scoring.metadata, rows))
        print_timing(messages, model, start)
    (metadata, first), *others = done
    if not others:
        table.write_rows(metadata, first.columns, first.records, lambda: first.means)
        return
    records = [{**record, **facts} for facts, rows in done for record in rows.records]
    means = {
        name: [{**mean, "model": facts["model"]} for facts, rows in done for mean in rows.means[name]]
        for name in first.means
    }
    # Each row names its model. An object of JSON cannot begin with nothing.
    shared = {"models": len(done)} if table.kind == "json" else {}
    table.write_rows(shared, [*first.columns, *metadata], records, lambda: means)
