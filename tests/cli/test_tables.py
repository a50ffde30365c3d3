"""Tables on terminals of any width: every line fits, and dropped columns are named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from checkpoints import save_model_folder
from conftest import Gpt2
from hypothesis import given
from hypothesis import strategies as st
from terminal import ESCAPE, show

from gpt2cli.cli.output import table
from gpt2cli.cli.output.rows import RowOutput
from gpt2cli.cli.output.terminal.columns import columns_that_fit, stacked_row
from gpt2cli.scoring.pairs.comparison import ContrastRow
from gpt2cli.scoring.rows import LineRow, TextRow, TokenRow, row_columns
from gpt2cli.scoring.words import WordRow
from gpt2cli.text.cells import cell_width

WIDTHS = [20, 40, 60, 80, 120]
SCORE = ["score", "-m", "stories", "-q", "--text", "The cat sat.\nOn the internationalization of 日本語."]
REVISION = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
COMMANDS = [
    ["models", "list"],
    ["models", "show", "gpt2"],
    ["models", "verify", "gpt2", "stories"],
    ["info"],
    ["next", "-m", "stories", "-q", "Once upon a time", "--candidates", f" there was, {'never ' * 20}"],
    *([*SCORE, "--by", by] for by in ("token", "word", "line", "document")),
    [
        "bench",
        "-m",
        "stories",
        "-q",
        "--only",
        "decode",
        "--prompt-tokens",
        "4",
        "--tokens",
        "4",
        "--rounds",
        "1",
    ],
]


@pytest.fixture
def cached(environment: dict[str, str]) -> Path:
    """Return the folder of a model in a cache whose path is long."""
    repository = Path(environment["HF_HOME"]) / "hub" / "models--openai-community--gpt2"
    folder = repository / "snapshots" / REVISION
    folder.mkdir(parents=True)
    save_model_folder(folder)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize(
    "arguments", COMMANDS, ids=lambda arguments: " ".join([*arguments[:2], arguments[-1]])
)
def test_no_line_is_wider_than_the_terminal(
    environment: dict[str, str], cached: Path, arguments: list[str], columns: int
) -> None:
    lines = ESCAPE.sub("", show(arguments, environment, columns)).splitlines()
    assert len(lines) > 1
    assert max(map(cell_width, lines)) <= columns


def test_a_list_of_models_has_a_row_a_model_and_a_pipe_their_whole_paths(
    gpt2: Gpt2, environment: dict[str, str], cached: Path
) -> None:
    header, *rows = ESCAPE.sub("", show(["models", "list"], environment, 80)).splitlines()
    assert header.split() == ["NAME", "KIND", "SIZE", "REVISION", "PATH"]
    assert [row.split()[0] for row in rows] == ["stories", "gpt2"]
    assert rows[1].endswith(REVISION[-10:])
    assert "…" in rows[1]
    assert str(cached) in gpt2("models", "list").stdout.decode()


def test_rows_leave_out_what_is_needed_least_and_say_so(environment: dict[str, str]) -> None:
    _, note, header, *rows = show(SCORE, environment, 80).splitlines()
    assert note == "# not shown in 80 columns: start, end, byte_start, byte_end"
    assert header.split() == ["index", "token", "id", "surprisal", "probability", "entropy", "rank"]
    wide = show(SCORE, environment, 120).splitlines()
    assert wide[1].split() == row_columns(TokenRow, "token")
    assert [row.split()[0] for row in rows] == [row.split()[0] for row in wide[2:]]


def test_where_nothing_fits_a_row_is_a_list_of_names_and_values(environment: dict[str, str]) -> None:
    shown = show([*SCORE, "--by", "word"], environment, 18)
    assert "\r\nword The\r\n" in shown
    assert re.search(r"\r\nsurprisal \d+\.\d+\r\n", shown)


NAMES = [
    [field.name for field in fields(kind)] for kind in (TokenRow, WordRow, LineRow, TextRow, ContrastRow)
]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": st.text(max_size=40),
    "str | None": st.one_of(st.none(), st.text(max_size=40)),
    "int": st.integers(0, 9_999_999),
    "float": st.floats(0, 1e12),
    "float | None": st.one_of(st.none(), st.floats(0, 1e12)),
    "int | None": st.one_of(st.none(), st.integers(0, 99_999)),
    "bool | None": st.one_of(st.none(), st.booleans()),
}


@st.composite
def records(draw: st.DrawFn) -> tuple[list[str], list[dict[str, Any]]]:
    """Return names of columns and rows of any values of their types."""
    kind: Any = draw(st.sampled_from([TokenRow, WordRow, LineRow, TextRow, ContrastRow]))
    row = st.fixed_dictionaries({field.name: VALUES[str(field.type)] for field in fields(kind)})
    return [field.name for field in fields(kind)], draw(st.lists(row, max_size=5))


@given(records(), st.integers(40, 200))
def test_rows_of_any_values_fit(rows: tuple[list[str], list[dict[str, Any]]], columns: int) -> None:
    written: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        names, values = rows
        RowOutput("tsv", written.append, aligned=True).write_rows({"model": "a/b" * 30}, names, values)
    lines = b"".join(written).decode("utf-8").splitlines()
    assert max(map(cell_width, lines)) <= columns
    assert len(lines) >= len(values)


def test_padding_gives_way_to_a_number_that_outgrows_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setenv("COLUMNS", "44")
    rows = [{"text": "", "surprisal": None, "entropy": None, "tokens": tokens} for tokens in (0, 1_000_000)]
    RowOutput("tsv", written.append, aligned=True).write_rows({}, list(rows[0]), rows)
    assert [line.decode() for line in written[-2:]] == [" " * 38 + "0\n", " " * 37 + "1000000\n"]


@pytest.mark.parametrize("width", ["20", "80"])
def test_a_column_named_by_a_file_breaks_no_line(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    written: list[bytes] = []
    RowOutput("tsv", written.append, aligned=True).write_rows({}, ["a\n\x1b[5mb", "token"], [{"token": "x"}])
    shown = b"".join(written).decode()
    assert r"a\n\x1b[5mb" in shown
    assert shown.count("\n") == 3 + (width == "20")
    assert "\x1b" not in shown


def test_half_a_surrogate_pair_is_written_as_a_question_mark_and_a_byte_as_itself() -> None:
    values = {"text": "a\ud800", "file": "b\udcff"}
    for kind, aligned, row in (
        ("csv", False, b"a?,b\xff"),
        ("tsv", True, b"a\\ud800"),
        ("json", False, b'"m": [{"text": "a?"'),
    ):
        written: list[bytes] = []
        table = RowOutput(kind, written.append, aligned)  # type: ignore[arg-type]
        table.write_rows({}, ["text", "file"], [values], lambda: {"m": [values]})
        assert row in b"".join(written)


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=1), st.integers(1, 200))
def test_more_room_never_shows_less(names: list[list[str]], room: int) -> None:
    widths = [len(name) for name in names[0]]
    narrow, wide = (columns_that_fit(names[0], widths, size) for size in (room, room + 1))
    assert narrow is None or (wide is not None and set(narrow) <= set(wide))


@given(st.lists(st.tuples(st.text("ab日", min_size=1), st.text("xy日")), min_size=1), st.integers(8, 40))
def test_stacked_rows_fit_and_keep_their_order(pairs: list[tuple[str, str]], room: int) -> None:
    names, cells = zip(*pairs, strict=True)
    lines = list(stacked_row(names, cells, room))
    assert max(map(cell_width, lines)) <= room
    assert len(pairs) <= len(lines) <= 2 * len(pairs)


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_table_of_engines_fits(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes], columns: int
) -> None:
    monkeypatch.setattr(table, "stdout_is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    engines = ["gpt2cli", "transformers", "ctranslate2", "llama.cpp"]
    rows: list[Sequence[str]] = [
        ("computed in", "", "float32", "float32", "float32", "F32"),
        ("decode of 128", "tokens/s", "1,234", "98.7", "123", "234"),
    ]
    table.print_table(["MEASURE", "UNIT", *engines], rows, 2)
    lines = capsysbinary.readouterr().out.decode().splitlines()
    assert max(map(len, lines)) <= columns
    if columns >= 80:
        assert len({len(line) for line in lines}) == 1
    else:
        assert sum("1,234" in line for line in lines) == 1
        assert sum("98.7" in line for line in lines) == 1
