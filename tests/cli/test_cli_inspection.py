"""`gpt2 lens`, `attention`, `diff` and `generate --trace`, as processes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from checkpoints import save_model_folder
from conftest import Gpt2
from terminal import show

from gpt2cli.cli.options.inspection.selection import parse_head, parse_numbers
from gpt2cli.cli.options.shared import OutputOptions
from gpt2cli.cli.output.inspection.findings import InspectionOutput
from gpt2cli.errors import UsageError
from gpt2cli.inspection.attention import Attention
from gpt2cli.inspection.lens import Lens
from gpt2cli.inspection.settings import LensSettings, PassageSettings
from gpt2cli.language_model import LanguageModel, load

pytestmark = pytest.mark.slow

TEXT = "The cat sat"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("inspected")
    save_model_folder(folder, n_positions=40)
    return load(str(folder), device="cpu", threads=1)


@pytest.fixture
def run(gpt2: Gpt2, model: LanguageModel) -> Gpt2:
    def inspect(command: str, *arguments: str | Path, **options: Any) -> Any:
        return gpt2(command, *arguments, "-m", model.files.name, "--threads", "1", **options)

    return inspect


def table(output: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(output.decode()), delimiter="\t"))


def test_lens_prints_the_rows_of_the_library(run: Gpt2, model: LanguageModel) -> None:
    done = run("lens", "--top", "2", "--layers", "0,2-3", "--position", "2,-1", TEXT)
    assert (done.returncode, done.stderr) == (0, b"")
    settings = LensSettings(top=2, layers=[0, 2, 3], positions=[2, -1])
    rows = list(Lens(model, TEXT, settings).rows())
    assert [
        (int(row["layer"]), int(row["index"]), int(row["prediction_id"])) for row in table(done.stdout)
    ] == [(row.layer, row.index, row.prediction_id) for row in rows]
    assert table(done.stdout)[0]["bos"] == "true"


def test_lens_reads_standard_input_and_draws_on_a_terminal(
    run: Gpt2, model: LanguageModel, environment: dict[str, str]
) -> None:
    done = run("lens", "--view", stdin=f"{TEXT}\n".encode())
    shown = show(
        ["lens", TEXT, "-m", model.files.name, "--threads", "1"], environment | {"NO_COLOR": "1"}, 100
    )
    assert "what each layer predicts" in done.stdout.decode()
    assert [line.rstrip() for line in shown.splitlines()] == [
        line.rstrip() for line in done.stdout.decode().splitlines()
    ]


def test_attention_prints_a_row_for_each_head(run: Gpt2, model: LanguageModel) -> None:
    done = run("attention", TEXT, "--json")
    rows = json.loads(done.stdout)["rows"]
    found = Attention(model, TEXT, PassageSettings())
    for row, head in zip(rows, found.heads, strict=True):
        assert row == pytest.approx(vars(head), abs=1e-6)


def test_a_trace_is_written_beside_the_same_text(run: Gpt2, model: LanguageModel, tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    plain = model.generate(TEXT, max_tokens=5, seed=3, top_k=9).text
    done = run("generate", "-n", "5", "--seed", "3", "--top-k", "9", TEXT, "--trace", file)
    assert (done.returncode, done.stdout.decode()) == (0, f"{plain}\n")
    steps = [json.loads(line) for line in file.read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5]
    assert all(step["seed"] == 3 for step in steps)
    assert [kept["tokens"] for kept in steps[0]["filters"] if kept["filter"] == "top_k"] == [9]
    assert "".join(step["text"] for step in steps[:1]) == plain[: len(steps[0]["text"])]


def test_diff_takes_two_models(gpt2: Gpt2, run: Gpt2, model: LanguageModel) -> None:
    done = run("diff", "-m", model.files.name, TEXT, "--top", "1", "--json")
    printed = json.loads(done.stdout)
    assert printed["model_1"] == printed["model_2"] == model.files.name
    assert [row["kl_divergence"] for row in printed["rows"]] == [0.0]
    done = gpt2("diff", "-m", "stories", TEXT)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"Error: diff compares two models, and --model was given 1 times.")


@pytest.mark.parametrize(
    ("text", "numbers"), [("3", (3,)), ("-1", (-1,)), ("0, 2-4,-2", (0, 2, 3, 4, -2)), ("7-7", (7,))]
)
def test_numbers_are_read_with_ranges(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_numbers(text) == numbers


@pytest.mark.parametrize("text", ["", "x", "1,", "1.5", "3-1", "0-99999999", "1--2", "9" * 5000])
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a"):
        parse_numbers(text)


@pytest.mark.parametrize("text", ["", "1", "1.", "-1.0", "1.2.3", "a.b", "12345678.0"])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not LAYER\.HEAD"):
        parse_head(text)


def test_a_picture_and_rows_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="--json and --view exclude each other"):
        InspectionOutput.open(OutputOptions(), view=True, json=True)
    with pytest.raises(UsageError, match=r"--view and -o a.csv exclude each other"):
        InspectionOutput.open(OutputOptions(Path("a.csv")), view=True, json=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lens", "--layers", "9"], "There is no layer 9. They are 0 to 3."),
        (["generate", "--trace", "trace.csv"], "--trace trace.csv: this command does not write .csv."),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(run: Gpt2, arguments: list[str], message: str) -> None:
    done = run(*arguments, TEXT)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith(f"Error: {message}")
    assert len(done.stderr.splitlines()) == 1
