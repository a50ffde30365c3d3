"""Rows of items, by one model after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gpt2cli.cli.options.scoring import ProtocolOptions
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.progress.items import item_progress
from gpt2cli.cli.output.rows import RowOutput
from gpt2cli.cli.output.timing import print_timing
from gpt2cli.local_model import LocalModel
from gpt2cli.scoring.settings import ItemBy
from gpt2cli.scoring.studies.item_scores import ItemScores
from gpt2cli.scoring.studies.items import Item
from gpt2cli.scoring.text_scorer import open_scoring


def score_items(
    items: Sequence[Item],
    loading: Sequence[Callable[[], LocalModel]],
    by: ItemBy,
    settings: ProtocolOptions,
    table: RowOutput,
    messages: Messages,
) -> None:
    """Write the rows of items by each model; `loading` has a function for each, called in its turn.

    Raises:
        UsageError, InputError, Error: as `ItemScores.records` does.
    """
    carried = list(dict.fromkeys(name for item in items for name in item.columns))
    total = len(items) * len(loading)

    def scores(number: int) -> tuple[LocalModel, ItemScores]:
        model = loading[number]()
        notes = settings.notes(messages.note, model.tokenizer, None)
        for item in items:
            notes.check(item.text, item.place)
        return model, ItemScores(open_scoring(model, settings), by)

    def records(number: int, model: LocalModel, opened: ItemScores) -> Iterator[Mapping[str, Any]]:
        start = time.perf_counter()
        with item_progress(messages, total, number * len(items)) as watched:
            yield from opened.records(watched(items))
        print_timing(messages, model, start)

    model, first = scores(0)
    metadata, columns = first.scoring.metadata, first.columns(carried)
    if len(loading) == 1:
        table.write_rows(metadata, columns, records(0, model, first))
        return

    def all_records() -> Iterator[Mapping[str, Any]]:
        for number in range(len(loading)):
            opened = scores(number) if number else (model, first)
            for record in records(number, *opened):
                yield {**record, **opened[1].scoring.metadata}

    # Each row names its model. An object of JSON cannot begin with nothing.
    shared = {"models": len(loading)} if table.kind == "json" else {}
    table.write_rows(shared, [*columns, *metadata], all_records())
