"""`gpt2 score` for studies: minimal pairs, items of tables, contexts, regions and several models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from gpt2cli.cli.options.rows import RowOptions, SelectionOptions, SourceOptions
from gpt2cli.cli.options.scoring import ProtocolOptions
from gpt2cli.cli.options.studies.items import StudyOptions
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.rows import RowOutput
from gpt2cli.local_model import LocalModel

OpenTable = Callable[[], AbstractContextManager[RowOutput]]


def score_study(
    study: StudyOptions,
    source: SourceOptions,
    rows: RowOptions,
    selection: SelectionOptions,
    settings: ProtocolOptions,
    loading: Sequence[Callable[[], LocalModel]],
    open_table: OpenTable,
    messages: Messages,
    *,
    draws: bool,
) -> bool:
    """Write the scores of a study by each model, and return whether a text was missing.

    `draws` is true if the output is to be a picture.

    Raises:
        UsageError, InputError, Error: as `StudyOptions.check`, `score_pairs` and `score_items` do.
    """
    if selection.pairs is not None:
        from gpt2cli.cli.studies.pairs import read_pairs, score_pairs

        study.refuse("--pairs")
        pairs = read_pairs(selection.pairs, messages)
        with open_table() as table:
            score_pairs(pairs, loading, settings, table, messages)
        return False
    from gpt2cli.cli.studies.item_rows import score_items

    study.check(draws, source, rows, selection, settings)
    items, failed = study.items(source, rows, settings, messages.note)
    with open_table() as table:
        score_items(items, loading, rows.by or "token", settings, table, messages)
    return failed
