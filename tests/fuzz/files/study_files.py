"""Searches among the files of studies: tables of items, questions and lines, and minimal pairs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fuzz.files.hostile_files import FileSearch
from fuzz.files.tiny_model import load_model, make_model
from fuzz.mutation import Change, changed_bytes, changed_json, changed_json_lines, changed_lines
from fuzz.processes.screen import UNSAFE
from gpt2cli.cli.input.line_feed import ByteSource, open_feed
from gpt2cli.cli.options.rows import RowOptions, SelectionOptions, SourceOptions
from gpt2cli.cli.options.scoring import ProtocolOptions
from gpt2cli.cli.options.studies.items import StudyOptions
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.rows import Format, RowOutput
from gpt2cli.cli.studies.answers import read_questions, write_answers
from gpt2cli.cli.studies.scores import score_study
from gpt2cli.generation.settings import SampleSettings
from gpt2cli.scoring.settings import ItemBy, NextSettings, ScoringSettings
from gpt2cli.scoring.studies.questions import QuestionProtocol
from gpt2cli.serving.completion_lines import CompletionLines
from gpt2cli.serving.lines import Answer, InOrder, LineWorker, answer_lines
from gpt2cli.serving.score_lines import ScoreLines

Rows = Sequence[Mapping[str, Any]]

QUIET = Messages(quiet=True)
TABLES: Mapping[str, Change] = {"*.csv": changed_lines, "*.tsv": changed_lines, "*.jsonl": changed_json_lines}
# TSV is aligned for a terminal.
OUTPUTS: Sequence[Format] = ("tsv", "csv", "json")
# The tables of items, by their names: how they are read, what gets a row, and what they hold.
ITEMS: Mapping[str, tuple[StudyOptions, ItemBy, Rows]] = {
    "context": (
        StudyOptions(field="text", context_field="before"),
        "token",
        [{"before": "the", "text": "a cat", "id": "1"}, {"before": "", "text": "é \N{THUMBS UP SIGN}"}],
    ),
    "span": (
        StudyOptions(field="text", span="from:to"),
        "region",
        [{"text": "the cat", "from": 0, "to": 3}, {"text": "a b", "from": "2", "to": "3"}],
    ),
    "marked": (StudyOptions(field="text"), "region", [{"text": "the [NP: cat] sat"}, {"text": "a [b]"}]),
    "words": (
        StudyOptions(field="word", group="item"),
        "word",
        [{"item": 1, "word": "the", "rt": 300.5}, {"item": 1, "word": "cat,"}, {"item": 2, "word": "a"}],
    ),
}
QUESTIONS: Rows = [
    {"context": "the cat", "candidates": [" sat", " mat"], "label": 0, "id": 1},
    {"context": "a ", "candidates": ["b", "c", "d"], "label": "2"},
]
CONTINUATIONS: Rows = [
    {"context": "the", "continuation": " cat", "label": 0},
    {"context": "a", "continuation": "b"},
]
PAIRS = "item\tcondition\ttext\n1\ta\tThe [key] was\n1\tb\tThe [keys] was\n"
PAIRS += "2\ta\tA [NP: dog] ran\n2\tb\tA [NP: cat] ran\n"
BLIMP = [
    {"sentence_good": "a cat sits", "sentence_bad": "a cat sit", "UID": "agreement", "pairID": str(number)}
    for number in range(2)
]
SUITE = {
    "meta": {"name": "agreement"},
    "predictions": [{"formula": "(2;%plural%) > [(2;%single%) - 0.5] & (*;%plural%) = (*;%single%)"}],
    "items": [
        {
            "item_number": 1,
            "conditions": [
                {
                    "condition_name": name,
                    "regions": [
                        {"region_number": 1, "content": "the cat"},
                        {"region_number": 2, "content": verb},
                        {"region_number": 3, "content": ""},
                    ],
                }
                for name, verb in (("single", "sits"), ("plural", "sit"))
            ],
        }
    ],
}
LINES = [
    {"id": "1", "text": "the cat", "x": "2.5"},
    {"id": "", "text": 'said "no"'},
    {"id": "3", "text": "b"},
]


def searches() -> Iterator[FileSearch]:
    """Yield the searches among the files of studies."""
    yield FileSearch("items", make_items, score_items, TABLES)
    yield FileSearch("questions", make_questions, answer_questions, TABLES)
    pairs = {"*.tsv": changed_lines, "*.jsonl": changed_json_lines, "suite.json": changed_json}
    yield FileSearch("pairs", make_pairs, score_pairs, pairs)
    yield FileSearch("tables", make_tables, answer_rows, {**TABLES, "*.gz": changed_bytes})


def make_items(folder: Path) -> None:
    """Write tables of items, in each format."""
    make_model(folder / "model")
    for name, (_, _, rows) in ITEMS.items():
        _write_tables(folder, name, rows)


def score_items(path: Path) -> None:
    """Score the items of a table, as its name says."""
    study, by, _ = ITEMS[path.stem]
    _score(path, study, SourceOptions([str(path)]), RowOptions(by), SelectionOptions())


def make_questions(folder: Path) -> None:
    """Write tables of questions: lists of candidates, which only JSON has, and single continuations."""
    make_model(folder / "model")
    _write_json_lines(folder / "questions.jsonl", QUESTIONS)
    _write_tables(folder, "continuations", CONTINUATIONS)


def answer_questions(path: Path) -> None:
    """Answer the questions of a table, in both ways."""
    protocols: Sequence[QuestionProtocol | None] = (None, None, "lm-eval")
    for kind, protocol in zip(OUTPUTS, protocols, strict=True):
        asked = read_questions(str(path))
        with _checked_rows(kind) as table:
            write_answers(_model(path), asked, NextSettings(), protocol, table, QUIET)


def make_pairs(folder: Path) -> None:
    """Write minimal pairs in each form."""
    make_model(folder / "model")
    (folder / "pairs.tsv").write_text(PAIRS)
    _write_json_lines(folder / "blimp.jsonl", BLIMP)
    (folder / "suite.json").write_text(json.dumps(SUITE))


def score_pairs(path: Path) -> None:
    """Compare minimal pairs."""
    _score(path, StudyOptions(), SourceOptions(), RowOptions(), SelectionOptions(pairs=str(path)))


def make_tables(folder: Path) -> None:
    """Write tables whose rows are lines of a run."""
    make_model(folder / "model")
    _write_tables(folder, "rows", LINES)
    (folder / "rows.csv.gz").write_bytes(gzip.compress((folder / "rows.csv").read_bytes()))


def answer_rows(path: Path) -> None:
    """Continue and score the text of each row."""
    loaded = _model(path)
    workers: tuple[LineWorker, ...] = (
        CompletionLines(loaded, SampleSettings(max_tokens=2), 0, field="text"),
        ScoreLines(loaded, ScoringSettings(), field="text"),
    )
    for worker in workers:
        answers: list[Answer] = []
        feed = open_feed(ByteSource(str(path)), "text", lambda _: True)
        answer_lines(feed, worker, answers.append, InOrder(64))
        for answer in answers:
            error = json.loads(answer.data).get("error") or {"message": "", "type": ""}
            assert error["type"] != "server_error", f"it blames the server: {error!r}"


@contextmanager
def _checked_rows(kind: Format) -> Iterator[RowOutput]:
    """Yield what takes rows, which must make a sound output."""
    data = bytearray()
    yield RowOutput(kind, data.extend, aligned=kind == "tsv")
    if kind == "tsv":
        shown = data.decode("utf-8", "replace")
        assert not UNSAFE.search(shown), f"the terminal would obey {shown!r}"
    elif kind == "json":
        json.loads(data)


def _score(
    path: Path, study: StudyOptions, source: SourceOptions, rows: RowOptions, selection: SelectionOptions
) -> None:
    loading = [partial(_model, path)]
    for kind in OUTPUTS:
        opened = partial(_checked_rows, kind)
        score_study(study, source, rows, selection, ProtocolOptions(), loading, opened, QUIET, draws=False)


def _model(path: Path) -> Any:
    return load_model(path.parent / "model")


def _write_tables(folder: Path, name: str, rows: Rows) -> None:
    """Write rows as CSV, TSV and JSON Lines."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [columns, *([str(row.get(column, "")) for column in columns] for row in rows)]
    quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row] for row in cells]
    (folder / f"{name}.csv").write_text("".join(",".join(row) + "\n" for row in quoted))
    (folder / f"{name}.tsv").write_text("".join("\t".join(row) + "\n" for row in quoted))
    _write_json_lines(folder / f"{name}.jsonl", rows)


def _write_json_lines(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
