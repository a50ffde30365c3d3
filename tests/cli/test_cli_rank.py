"""`gpt2 rank`: lines in order of likelihood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from checkpoints import save_model_folder
from conftest import Gpt2

LINES = [
    *(b"Once upon a time\n", b"zq\r\n", b"The caf\xc3\xa9 \xf0\x9f\x91\x8d\n"),
    *(b"a a a a a a a a a a\n", b"\n"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rank")
    save_model_folder(folder, n_positions=64)
    return folder


@pytest.fixture
def rank(gpt2: Gpt2, checkpoint: Path) -> Gpt2:
    def run(*arguments: str | Path, **options: Any) -> Any:
        return gpt2("rank", *arguments, "-m", checkpoint, "--threads", "1", **options)

    return run


def surprisals(gpt2: Gpt2, checkpoint: Path, name: str) -> list[float]:
    """Return how `gpt2 score` finds the lines; infinity for the empty one."""
    options = ("--split", "line", "--by", "document", "--json", "-m", checkpoint)
    rows = json.loads(gpt2("score", *options, stdin=b"".join(LINES)).stdout)["rows"]
    return [*(row[name] for row in rows[: len(LINES) - 1]), float("inf")]


@pytest.mark.slow
@pytest.mark.parametrize(("by", "name"), [("mean", "mean_surprisal"), ("total", "surprisal")])
def test_lines_come_unchanged_the_least_surprising_first(
    rank: Gpt2, gpt2: Gpt2, checkpoint: Path, by: str, name: str
) -> None:
    result = rank("--by", by, stdin=b"".join(LINES))
    assert (result.returncode, result.stderr) == (0, b"")
    values = surprisals(gpt2, checkpoint, name)
    order = sorted(range(len(LINES)), key=values.__getitem__)
    assert result.stdout == b"".join(LINES[place] for place in order)
    output = rank("--by", by, "--json", stdin=b"".join(LINES)).stdout
    report = [json.loads(line) for line in output.splitlines()]
    assert [row["line"] - 1 for row in report] == order
    assert [row["place"] for row in report] == [1, 2, 3, 4, 5]
    for row, place in zip(report[:-1], order, strict=False):
        assert row[name] == pytest.approx(values[place], abs=1e-3)
        assert row["text"] == LINES[place].decode().rstrip("\r\n")
        assert (row["unit"], row["bos"], row["window"]) == ("bits", True, 64)
    assert report[-1][name] is None


@pytest.mark.slow
def test_the_best_lines_are_the_first_of_all(rank: Gpt2, tmp_path: Path) -> None:
    whole = rank(stdin=b"".join(LINES)).stdout
    assert rank("-n", "2", stdin=b"".join(LINES)).stdout == b"".join(whole.splitlines(keepends=True)[:2])
    (tmp_path / "a").write_bytes(b"".join(LINES[:2]))
    (tmp_path / "b").write_bytes(b"".join(LINES[2:]))
    assert rank(tmp_path / "a", tmp_path / "b").stdout == whole
    first = json.loads(rank(tmp_path / "a", tmp_path / "b", "-n", "1", "--json").stdout)
    assert first["file"] in (str(tmp_path / "a"), str(tmp_path / "b"))


def test_a_last_line_without_an_end_gets_one(rank: Gpt2) -> None:
    assert sorted(rank(stdin=b"b b\na").stdout.splitlines(keepends=True)) == [b"a\n", b"b b\n"]
    assert rank(stdin=b"").stdout == b""


@pytest.mark.slow
def test_what_cannot_be_done_is_refused_in_one_line(rank: Gpt2, tmp_path: Path) -> None:
    for arguments, code in (
        (["--by", "median"], 2),
        (["-n", "0"], 2),
        (["--stride", "99"], 2),
        ([tmp_path / "none"], 1),
    ):
        result = rank(*arguments, stdin=b"x\n")
        assert (result.returncode, result.stdout) == (code, b"")
        assert result.stderr.startswith(b"Error: ")
        assert result.stderr.count(b"\n") == 1
