"""Rows of candidates, of one question after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpt2cli.cli.input.text import read_text, source_name
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.progress.items import item_progress
from gpt2cli.cli.output.rows import RowOutput
from gpt2cli.local_model import LocalModel
from gpt2cli.scoring.rows import row_columns
from gpt2cli.scoring.settings import NextSettings
from gpt2cli.scoring.studies.questions import (
    Answer,
    CandidateRow,
    Question,
    QuestionProtocol,
    answers,
    means,
    questions_of,
)
from gpt2cli.text.reading.tables import read_table


def read_questions(source: str) -> list[Question]:
    """Return the questions of a table.

    Raises:
        InputError: it cannot be read, or a row is no question.
    """
    return list(questions_of(read_table(read_text(source), source_name(source))))


def write_answers(
    loaded: LocalModel,
    questions: Sequence[Question],
    settings: NextSettings,
    protocol: QuestionProtocol | None,
    table: RowOutput,
    messages: Messages,
) -> None:
    """Write a row for each candidate, and the shares of right answers: a note, in JSON a list besides.

    Raises:
        UsageError, InputError: as `answers` does.
    """
    own = row_columns(CandidateRow)
    metadata = {
        "model": loaded.files.name,
        "revision": loaded.files.revision,
        "unit": settings.unit,
        **({"protocol": protocol} if protocol else {}),
    }
    taken = {*own, *metadata}
    carried = list(dict.fromkeys(name for question in questions for name in question.columns))
    names = {name: f"item_{name}" if name in taken else name for name in carried}
    found: list[Answer] = []

    def records() -> Iterator[Mapping[str, Any]]:
        with item_progress(messages, len(questions)) as watched:
            for answer in answers(loaded, watched(questions), settings, protocol):
                found.append(answer)
                columns = {names[name]: value for name, value in answer.question.columns.items()}
                yield from ({**columns, **vars(row)} for row in answer.rows)

    table.write_rows(metadata, [*names.values(), *own], records(), lambda: {"means": [means(found)]})
    shares = means(found)
    if shares["items"]:
        messages.note(
            f"acc {shares['acc']:.4f}, acc_norm {shares['acc_norm']:.4f} of {shares['items']:,} items"
        )
