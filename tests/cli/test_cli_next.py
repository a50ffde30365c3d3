"""`gpt2 next`: the likeliest tokens, and the exact probabilities of continuations, against transformers."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import save_model_folder
from conftest import Gpt2
from terminal import show

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.hub.model_files import find_model
from gpt2cli.text.loading import load_tokenizer
from gpt2cli.text.tokenizer import Tokenizer

pytestmark = pytest.mark.slow

CONTEXT = 48
TEXT = "Once upon"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("next")
    reference = save_model_folder(folder, n_positions=CONTEXT)
    return folder, reference


@pytest.fixture(scope="module")
def tokenizer(made: tuple[Path, Any]) -> Tokenizer:
    files = find_model(str(made[0]))
    assert files is not None
    return load_tokenizer(files, ModelConfig.from_json(files.config))


@pytest.fixture
def following(gpt2: Gpt2, made: tuple[Path, Any]) -> Gpt2:
    def run(*arguments: str | Path, **options: Any) -> Any:
        return gpt2("next", *arguments, "-m", made[0], "--threads", "1", **options)

    return run


def logprobs(reference: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return torch.log_softmax(reference(torch.tensor([ids])).logits[0].double(), -1)


def rows_of(output: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(output)["rows"]
    return rows


def test_the_likeliest_tokens_come_with_their_probabilities(
    following: Gpt2, made: tuple[Path, Any], tokenizer: Tokenizer
) -> None:
    result = following(TEXT, "-k", "5", "--json")
    assert (result.returncode, result.stderr) == (0, b"")
    rows = rows_of(result.stdout)
    expected = logprobs(made[1], tokenizer.encode(TEXT))[-1].exp().topk(5)
    assert [row["id"] for row in rows] == expected.indices.tolist()
    assert [row["probability"] for row in rows] == pytest.approx(expected.values.tolist(), rel=1e-4)
    assert [row["place"] for row in rows] == [1, 2, 3, 4, 5]
    for row in rows:
        assert row["surprisal"] == pytest.approx(-math.log2(row["probability"]), abs=1e-4)
    assert json.loads(result.stdout)["bos"] is False


def test_a_pipe_gets_ten_lines_of_tsv(following: Gpt2) -> None:
    output = following(TEXT).stdout
    rows = list(csv.DictReader(io.StringIO(output.decode(), newline=""), delimiter="\t"))
    assert len(rows) == 10
    expected = rows_of(following(TEXT, "--json").stdout)
    assert [row["token"] for row in rows] == [row["token"] for row in expected]


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "bos"), [("numpy", True), ("numpy", False), ("torch", True)])
def test_candidates_have_their_exact_probability_however_many_tokens_they_are(
    following: Gpt2, made: tuple[Path, Any], tokenizer: Tokenizer, backend: str, bos: bool
) -> None:
    candidates = [" a", " time", "x", " the end, my friend"]
    result = following(
        *(TEXT, "--candidates", ",".join(candidates[:3]), "--candidate", candidates[3], "--json"),
        *("--unit", "nats", "--backend", backend, "--bos" if bos else "--no-bos"),
    )
    rows = {row["text"]: row for row in rows_of(result.stdout)}
    assert set(rows) == set(candidates)
    assert tokenizer.bos_id is not None
    prompt = [*([tokenizer.bos_id] if bos else []), *tokenizer.encode(TEXT)]
    for text, row in rows.items():
        ids = tokenizer.encode(text)
        scores = logprobs(made[1], [*prompt, *ids])
        total = sum(float(scores[len(prompt) - 1 + place, token]) for place, token in enumerate(ids))
        assert row["tokens"] == len(ids)
        assert row["surprisal"] == pytest.approx(-total, abs=1e-3)
        assert row["probability"] == pytest.approx(math.exp(-row["surprisal"]), rel=1e-4)
    found = [row["probability"] for row in rows_of(result.stdout)]
    assert found == sorted(found, reverse=True)


def test_more_candidates_than_a_batch_are_ranked_together(following: Gpt2) -> None:
    candidates = [f" {letter}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    together = rows_of(following(TEXT, "--candidates", ",".join(candidates), "--json").stdout)
    alone = rows_of(following(TEXT, "--candidates", candidates[20], "--json").stdout)[0]
    assert len(together) == 26
    same = next(row for row in together if row["text"] == candidates[20])
    assert same["surprisal"] == pytest.approx(alone["surprisal"], abs=1e-4)


def test_text_comes_from_stdin_or_a_file_too(following: Gpt2, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(TEXT + "\n")
    expected = following(TEXT).stdout
    assert following(stdin=TEXT.encode() + b"\n").stdout == expected
    assert following("-f", tmp_path / "x").stdout == expected


@pytest.mark.slow
def test_a_text_that_ends_in_a_space_is_pointed_out(following: Gpt2) -> None:
    assert b"ends in white space" in following("Once ").stderr
    assert following("Once ", "-q").stderr == b""
    assert b"no candidate begins with a space" in following("Once", "--candidates", "upon,a").stderr
    assert following("Once", "--candidates", " upon,a").stderr == b""


def test_bos_alone_is_a_text(following: Gpt2, made: tuple[Path, Any], tokenizer: Tokenizer) -> None:
    assert tokenizer.bos_id is not None
    expected = logprobs(made[1], [tokenizer.bos_id])[-1].argmax()
    assert rows_of(following("", "--bos", "-k", "1", "--json").stdout)[0]["id"] == int(expected)


@pytest.mark.slow
def test_a_text_beyond_the_context_is_refused_or_cut(following: Gpt2) -> None:
    refused = following("x" * 60)
    assert refused.returncode == 2
    assert b"60 tokens" in refused.stderr
    assert b"--truncate" in refused.stderr
    long = following(TEXT, "--candidate", "x" * 60)
    assert (long.returncode, long.stdout) == (2, b"")
    assert b"A candidate has 60 tokens" in long.stderr
    cut = following("y" * 60 + "x" * 40, "--truncate", "left", "--json", "--candidates", "xx")
    assert cut.returncode == 0
    assert b"cut to 47 tokens" in cut.stderr


@pytest.mark.parametrize("columns", [20, 60])
def test_a_terminal_shows_bars_that_fit(
    made: tuple[Path, Any], environment: dict[str, str], columns: int
) -> None:
    arguments = ["next", TEXT, "-m", str(made[0]), "-q", "-k", "3", "--threads", "1"]
    lines = show(arguments, environment | {"NO_COLOR": "1"}, columns).splitlines()
    assert len(lines) == 3
    assert all("%" in line and len(line) <= columns for line in lines)
    # Beside a long token there may be no room for bars in 20 columns.
    assert columns == 20 or "█" in lines[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "The text is empty. With --bos"),
        ([TEXT, "-k", "0"], "--top"),
        ([TEXT, "--candidates", "a,,b"], "A candidate is empty"),
        ([TEXT, "--candidate", ""], "A candidate is empty"),
        ([TEXT, "-f", "x"], "exclude each other"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    following: Gpt2, arguments: list[str], message: str
) -> None:
    result = following(*arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert message in result.stderr.decode()
    assert result.stderr.count(b"\n") == 1
