"""`gpt2 score` as users run it: formats and their readers, files, pairs, filters and exit codes."""

from __future__ import annotations

import csv
import io
import json
import math
import operator
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import save_model_folder
from conftest import COMMAND, Gpt2
from terminal import ESCAPE, show

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.hub.model_files import find_model
from gpt2cli.text.loading import load_tokenizer
from gpt2cli.text.tokenizer import Tokenizer

pytestmark = pytest.mark.slow

CONTEXT = 64
TRICKY = 'He said "no",\tthen\n\n👍🏽 naïve, #1\r\nNA "" end '
SEPARATOR = "<|endoftext|>"
METADATA = ("model", "revision", "unit", "bos", "window", "stride")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("score")
    reference = save_model_folder(folder, n_positions=CONTEXT)
    return folder, reference


@pytest.fixture(scope="module")
def tokenizer(made: tuple[Path, Any]) -> Tokenizer:
    files = find_model(str(made[0]))
    assert files is not None
    return load_tokenizer(files, ModelConfig.from_json(files.config))


@pytest.fixture
def score(gpt2: Gpt2, made: tuple[Path, Any]) -> Gpt2:
    def run(*arguments: str | Path, **options: Any) -> Any:
        return gpt2("score", *arguments, "-m", made[0], "--threads", "1", **options)

    return run


def table(output: bytes, delimiter: str = "\t") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(output.decode(), newline=""), delimiter=delimiter))


def nats_of(text: str, made: tuple[Path, Any], tokenizer: Tokenizer) -> list[float]:
    """Return the nats of a short text's tokens after BOS, by transformers."""
    ids = tokenizer.encode(text)
    with torch.no_grad():
        logits = made[1](torch.tensor([[tokenizer.bos_id, *ids]])).logits[0, :-1]
    losses: list[float] = torch.nn.functional.cross_entropy(
        logits, torch.tensor(ids), reduction="none"
    ).tolist()
    return losses


def test_a_row_a_token_with_the_surprisal_of_transformers(
    score: Gpt2, made: tuple[Path, Any], tokenizer: Tokenizer
) -> None:
    result = score("--text", TRICKY, "--unit", "nats")
    assert (result.returncode, result.stderr) == (
        0,
        b"note: the text has CR LF line ends, and CR is read as text; --newlines lf drops it\n",
    )
    rows = table(result.stdout)
    assert [float(row["surprisal"]) for row in rows] == pytest.approx(
        nats_of(TRICKY, made, tokenizer), abs=1e-4
    )
    assert [int(row["id"]) for row in rows] == tokenizer.encode(TRICKY)
    assert {(row["unit"], row["bos"], row["window"], row["stride"]) for row in rows} == {
        ("nats", "true", "64", "32")
    }
    assert all(row["model"] == str(made[0]) for row in rows)
    assert b"\x1b" not in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("by", ["token", "word", "line", "document"])
def test_every_format_tells_the_same_to_its_reader(score: Gpt2, by: str) -> None:
    def run(kind: str) -> bytes:
        output: bytes = score("--text", TRICKY, "--by", by, f"--{kind}").stdout
        return output

    whole = json.loads(run("json"))
    lines = [json.loads(line) for line in run("json-rows").splitlines()]
    metadata = {name: whole.pop(name) for name in METADATA}
    assert metadata["unit"] == "bits"
    assert metadata["bos"] is True
    assert lines == [row | metadata for row in whole["rows"]]
    assert ("documents" in whole) == (by != "document")

    def cell(value: Any) -> str:
        return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    expected = [{name: cell(value) for name, value in line.items()} for line in lines]
    assert table(run("tsv")) == expected
    assert table(run("csv"), ",") == expected
    names = {"token": "token", "word": "word", "line": "text"}
    for row in whole["rows"]:
        named = row.get(names.get(by, ""), TRICKY)
        if not named.startswith("bytes:"):
            assert TRICKY[row["start"] : row["end"]] == named
            assert TRICKY.encode()[row["byte_start"] : row["byte_end"]].decode() == named


@pytest.mark.slow
def test_tsv_is_the_default_and_the_same_in_a_file(score: Gpt2, tmp_path: Path) -> None:
    target = tmp_path / "scores.tsv"
    plain = score("--text", "Once upon")
    assert plain.stdout == score("--text", "Once upon", "--tsv").stdout
    written = score("--text", "Once upon", "-o", target)
    assert (written.returncode, written.stdout) == (0, b"")
    assert target.read_bytes() == plain.stdout


@pytest.mark.slow
def test_text_file_and_stdin_are_scored_alike_with_every_byte(score: Gpt2, tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_bytes(TRICKY.encode())
    piped = score("--json", stdin=TRICKY.encode()).stdout
    assert piped == score("--json", "-", stdin=TRICKY.encode()).stdout.replace(b'"file": "-", ', b"")
    assert piped == score("--json", "--text", TRICKY).stdout
    from_file = json.loads(score("--json", file).stdout)
    assert {row.pop("file") for row in from_file["rows"]} == {str(file)}
    assert from_file["rows"] == json.loads(piped)["rows"]
    assert sum(row["byte_end"] - row["byte_start"] for row in from_file["rows"]) == len(TRICKY.encode())


def test_documents_sum_up_their_tokens_and_files_end_in_a_total(
    score: Gpt2, tmp_path: Path, made: tuple[Path, Any], tokenizer: Tokenizer
) -> None:
    texts = {"a.txt": "Once upon a time.\n", "b.txt": "The end"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    rows = json.loads(
        score(*(tmp_path / name for name in texts), "--by", "document", "--json", "--unit", "nats").stdout
    )["rows"]
    assert [row["file"] for row in rows] == [*(str(tmp_path / name) for name in texts), "total"]
    nats = [sum(nats_of(text, made, tokenizer)) for text in texts.values()]
    tokens = [len(tokenizer.encode(text)) for text in texts.values()]
    words, count = [4, 2], [len(text) for text in texts.values()]
    for numbers in (nats, tokens, words, count):
        numbers.append(sum(numbers))  # type: ignore[arg-type]
    assert [row["tokens"] for row in rows] == tokens
    assert [row["words"] for row in rows] == words
    assert [row["bytes"] for row in rows] == count
    for place, row in enumerate(rows):
        assert row["surprisal"] == pytest.approx(nats[place], abs=1e-3)
        assert row["mean_surprisal"] == pytest.approx(nats[place] / tokens[place], abs=1e-4)
        assert row["perplexity"] == pytest.approx(math.exp(nats[place] / tokens[place]), rel=1e-4)
        assert row["word_perplexity"] == pytest.approx(math.exp(nats[place] / words[place]), rel=1e-3)
        assert row["bits_per_byte"] == pytest.approx(nats[place] / count[place] / math.log(2), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["line", "endoftext"])
def test_parts_of_a_split_file_are_scored_by_themselves(
    score: Gpt2, split: str, made: tuple[Path, Any], tokenizer: Tokenizer
) -> None:
    parts = ["Once.\n", "The end\n"]
    source = (SEPARATOR + "\n").join(parts) if split == "endoftext" else "".join(parts)
    rows = json.loads(
        score("--split", split, "--by", "document", "--json", "--unit", "nats", stdin=source.encode()).stdout
    )["rows"]
    assert [row["document"] for row in rows] == [1, 2, None]
    expected = parts if split == "endoftext" else ["Once.", "The end"]
    for row, part in zip(rows, expected, strict=False):
        assert source[row["start"] : row["end"]] == part
        assert row["surprisal"] == pytest.approx(sum(nats_of(part, made, tokenizer)), abs=1e-3)
    tokens = table(score("--split", split, stdin=source.encode()).stdout)
    assert [row["document"] for row in tokens] == sorted(row["document"] for row in tokens)
    assert tokens[-1]["document"] == "2"


def test_the_special_token_is_plain_text_unless_it_parts_documents(score: Gpt2, tokenizer: Tokenizer) -> None:
    rows = table(score("--text", SEPARATOR).stdout)
    assert len(rows) == len(tokenizer.encode(SEPARATOR)) > 1


@pytest.mark.slow
def test_a_long_text_is_scored_once_whatever_the_batch_and_the_backend(score: Gpt2) -> None:
    text = " ".join(f"word{number}" for number in np.random.default_rng(0).integers(0, 99, 150)).encode()
    runs = [
        table(score(*options, stdin=text).stdout)
        for options in ([], ["--batch-size", "5"], ["--backend", "torch"], ["--stride", "16"])
    ]
    for rows in runs:
        assert b"".join(row["token"].encode() for row in rows) == text
    surprisals = [[float(row["surprisal"]) for row in rows] for rows in runs]
    assert surprisals[0] == pytest.approx(surprisals[1], abs=1e-4)
    assert surprisals[0] == pytest.approx(surprisals[2], abs=1e-4)
    assert surprisals[0][:CONTEXT] == pytest.approx(surprisals[3][:CONTEXT], abs=1e-4)
    assert surprisals[0] != pytest.approx(surprisals[3], abs=1e-4)


@pytest.mark.slow
def test_without_bos_the_first_token_is_empty_or_null_never_zero(score: Gpt2) -> None:
    first, second, *_ = table(score("--text", "Once upon", "--no-bos").stdout)
    names = ("surprisal", "probability", "entropy", "rank")
    assert [first[name] for name in names] == [""] * 4
    assert all(second[name] for name in names)
    assert first["bos"] == "false"
    row = json.loads(score("--text", "Once upon", "--no-bos", "--json").stdout)["rows"][0]
    assert [row[name] for name in names] == [None] * 4
    single = json.loads(score("--text", "x", "--no-bos", "--json", "--by", "document").stdout)["rows"][0]
    assert (single["surprisal"], single["perplexity"], single["tokens"]) == (None, None, 0)


def test_words_have_both_columns(score: Gpt2) -> None:
    rows = table(score("--text", "Once upon a\ntime\n", "--by", "word").stdout)
    assert [row["word"] for row in rows] == ["Once", "upon", "a", "time"]
    assert all(row["surprisal"] != row["surprisal_corrected"] for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["hf", "lm-eval", "llama.cpp"])
def test_a_protocol_tells_its_perplexity_and_its_settings(score: Gpt2, protocol: str) -> None:
    text = " ".join(["Once upon a time there was a word"] * 12)
    result = json.loads(score("--protocol", protocol, "--json", "--text", text).stdout)
    assert result["protocol"] == protocol
    assert result["bos"] == (protocol == "lm-eval")
    (row,) = result["rows"]
    assert row["perplexity"] > 1
    assert (row["word_perplexity"] is not None) == (protocol == "lm-eval")


def test_an_empty_text_has_no_tokens_and_is_no_error(score: Gpt2) -> None:
    result = score(stdin=b"")
    assert (result.returncode, result.stderr, result.stdout.count(b"\n")) == (0, b"", 1)
    (row,) = json.loads(score("--by", "document", "--json", stdin=b"").stdout)["rows"]
    assert (row["tokens"], row["surprisal"], row["perplexity"]) == (0, None, None)


def test_a_file_that_cannot_be_read_does_not_stop_the_others(score: Gpt2, tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("Once")
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9")
    result = score(tmp_path / "bad.txt", tmp_path / "none.txt", tmp_path / "good.txt", "--by", "document")
    assert result.returncode == 1
    assert [row["file"] for row in table(result.stdout)] == [str(tmp_path / "good.txt"), "total"]
    assert result.stderr.count(b"Error: ") == 2
    alone = score(tmp_path / "bad.txt")
    assert (alone.returncode, alone.stdout) == (1, b"")
    assert b"not valid UTF-8" in alone.stderr


def test_rows_come_while_a_text_is_scored(made: tuple[Path, Any], environment: dict[str, str]) -> None:
    text = ("Once upon a time. " * 20_000).encode()
    command = [*COMMAND, "score", "-m", str(made[0]), "--threads", "1"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(text)
        process.stdin.close()
        assert process.stdout.readline().startswith(b"index\t")
        assert process.stdout.readline().startswith(b"1\t")
        # As `head` does.
        process.stdout.close()
        assert process.wait(60) == -13


# Pairs.

PAIRS = b"item\tcondition\ttext\n1\tgood\tThe keys [are] here.\n1\tbad\tThe keys [is] here.\n"


def test_pairs_compare_the_regions_that_tokens_make(
    score: Gpt2, made: tuple[Path, Any], tokenizer: Tokenizer
) -> None:
    def region(text: str, start: int, end: int) -> float:
        nats = nats_of(text, made, tokenizer)
        ends = np.cumsum([len(tokenizer.token_bytes(token_id)) for token_id in tokenizer.encode(text)])
        return sum(value for value, place in zip(nats, ends, strict=True) if start < place <= end)

    expected = [region("The keys are here.", 8, 12), region("The keys is here.", 8, 11)]
    result = score("--pairs", "-", "--json", "--unit", "nats", stdin=PAIRS)
    whole = json.loads(result.stdout)
    (row,) = whole["rows"]
    assert [row["surprisal_1"], row["surprisal_2"]] == pytest.approx(expected, abs=1e-3)
    assert row["difference"] == pytest.approx(expected[1] - expected[0], abs=1e-3)
    assert row["correct"] == (expected[0] < expected[1])
    (contrast,) = whole["contrasts"]
    assert (contrast["condition_1"], contrast["condition_2"], contrast["items"]) == ("good", "bad", 1)
    assert contrast["accuracy"] == row["correct"]
    first, mean = table(score("--pairs", "-", "--unit", "nats", stdin=PAIRS).stdout)
    assert (first["text_1"], first["text_2"], first["item"], mean["item"]) == ("are", "is", "1", "mean")
    assert float(mean["correct"]) == float(first["correct"])


# Filters.

LINES = [b"Once upon a time\n", b"\n", b"zq xj kv\r\n", b"The end of the caf\xc3\xa9\n", b"no end"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("condition", "name", "compare"),
    [
        ("ppl<{}", "perplexity", operator.lt),
        (" perplexity >= {} ", "perplexity", operator.ge),
        ("surprisal<={}", "surprisal", operator.le),
        ("tokens>{}", "tokens", operator.gt),
    ],
)
def test_lines_that_pass_are_unchanged_and_in_order(
    score: Gpt2, condition: str, name: str, compare: Callable[[float, float], bool]
) -> None:
    options = ("--split", "line", "--by", "document", "--json")
    rows = json.loads(score(*options, stdin=b"".join(LINES)).stdout)["rows"]
    with_text = [line for line in LINES if line.strip()]
    _, second, third, _ = sorted(row[name] for row in rows[: len(with_text)])
    bound = (second + third) / 2
    kept = [line for line, row in zip(with_text, rows, strict=False) if compare(row[name], bound)]
    assert 0 < len(kept) < len(with_text)
    result = score("--filter", condition.format(bound), stdin=b"".join(LINES))
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == b"".join(kept)


def test_a_line_passes_at_once(made: tuple[Path, Any], environment: dict[str, str]) -> None:
    command = [*COMMAND, "score", "--filter", "tokens>0", "-m", str(made[0]), "--threads", "1"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in (b"Once\n", b"upon\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line
        process.stdin.close()
        assert process.wait(60) == 0


def test_filters_read_files_and_name_the_line_that_is_no_text(score: Gpt2, tmp_path: Path) -> None:
    for name, data in (("a", b"one\n"), ("b", b"two\nthr\xff\n")):
        (tmp_path / name).write_bytes(data)
    result = score("--filter", "tokens>0", tmp_path / "a", tmp_path / "b")
    assert result.returncode == 1
    assert result.stdout.startswith(b"one\n")
    assert f"{tmp_path / 'b'}, line 2: the byte 0xff".encode() in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "x", "--by", "chapter"], "--by"),
        (["--text", "x", "y"], "FILE and --text exclude each other"),
        (["--text", "x", "--csv", "--json"], "--csv and --json exclude each other"),
        (["--text", "x", "--window", "65"], "exceeds the model's context of 64"),
        (["--text", "x", "--window", "8", "--stride", "9"], "A stride of 9"),
        (["--text", "x", "--batch-size", "0"], "--batch-size"),
        (["--text", "x", "--unit", "dits"], "--unit"),
        (["--text", "x", "--protocol", "hf", "--bos"], "scores without BOS. Leave out --bos"),
        (["--text", "x", "--protocol", "lm-eval", "--stride", "3"], "Leave out --stride."),
        (
            ["--text", "x", "--protocol", "hf", "--by", "word"],
            "documents only. Leave out --by.",
        ),
        (["--text", "x", "--protocol", "llama.cpp"], "needs 2 chunks of 64 tokens"),
        (["--text", "x", "--protocol", "llama.cpp"], "a smaller --window"),
        (["--filter", "ppl=5"], "is not a condition"),
        (["--filter", "ppl<nan"], "is not a condition"),
        (["--filter", "color<5"], "'color' is not a metric"),
        (["--filter", "ppl<5", "--json"], "exclude each other"),
        (["--pairs", "x", "--filter", "ppl<5"], "exclude each other"),
        (["--pairs", "-"], "no item has two conditions"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(score: Gpt2, arguments: list[str], message: str) -> None:
    result = score(*arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert message in result.stderr.decode()
    assert result.stderr.startswith(b"Error: ")
    assert result.stderr.count(b"\n") == 1


def test_a_terminal_shows_aligned_columns_and_the_settings_once(
    made: tuple[Path, Any], environment: dict[str, str]
) -> None:
    arguments = ["score", "--text", "a\n👍", "-m", str(made[0]), "-q", "--threads", "1"]
    settings, header, *rows = show(arguments, environment, 400).splitlines()
    assert settings.startswith("# model=")
    assert "unit=bits bos=true window=64 stride=32" in settings
    assert header.split()[:3] == ["index", "token", "id"]
    assert len(rows) == 6
    assert "\\n" in rows[1]
    place = header.index("surprisal")
    assert all(row[place - 1] == " " and row[place] != " " for row in rows)


def test_a_view_shows_the_text_with_bars_or_shades_below_the_width(gpt2: Gpt2) -> None:
    view = ("score", "-m", "stories", "--text", "The cat sat.\nOn the moon.", "--view")
    lines = gpt2(*view, env={"COLUMNS": "60"}).stdout.decode().splitlines()
    assert lines[::2] == ["The cat sat.", "On the moon."]
    assert all(set(bars) <= set(" ▁▂▃▄▅▆▇█") for bars in lines[1::2])
    words = gpt2(*view, "--by", "word").stdout.decode().splitlines()
    assert len(set(words[1][:3])) == 1
    shaded = gpt2(*view, "--color", "always").stdout.decode()
    assert "".join(re.split(r"\x1b\[[\d;]*m", shaded)) == "The cat sat.\nOn the moon.\n"


@pytest.mark.slow
@pytest.mark.parametrize("columns", [20, 40, 80])
@pytest.mark.parametrize("color", ["always", "never"])
def test_a_view_on_a_terminal_fits_and_has_a_legend_that_a_pipe_lacks(
    gpt2: Gpt2, environment: dict[str, str], color: str, columns: int
) -> None:
    text = "The cat sat on the mat, and then it was all over for the mouse.\r\n  The end."
    view = ["score", "-m", "stories", "-q", "--text", text, "--view", "--color", color]
    lines = ESCAPE.sub("", show(view, environment, columns)).splitlines()
    piped = ESCAPE.sub("", gpt2(*view, env={"COLUMNS": str(columns)}).stdout.decode()).splitlines()
    assert lines[: len(piped)] == piped
    assert max(map(len, lines)) <= columns
    empty, *legend = lines[len(piped) :]
    assert empty == ""
    assert re.sub("[▁-█]", "", " ".join(legend)).split()[-5:] == ["5", "10", "15", "20+", "bits"]
    shown = piped if color == "always" else piped[::2]
    # Of the spaces only those before the second line are at the start of one.
    assert [line for line in shown if line.startswith(" ")] == [
        line for line in shown if line.startswith("  The")
    ]
    assert " ".join(shown).split() == text.split()


@pytest.mark.parametrize(
    ("suffix", "beginning"), [("html", b"<!doctype"), ("svg", b"<svg"), ("png", b"\x89PNG")]
)
def test_the_name_of_a_file_asks_for_a_picture(
    gpt2: Gpt2, tmp_path: Path, suffix: str, beginning: bytes
) -> None:
    target = tmp_path / f"text.{suffix}"
    result = gpt2("score", "-m", "stories", "--text", "The cat sat.", "-o", target)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert target.read_bytes().startswith(beginning)


@pytest.mark.parametrize("other", [["--csv"], ["--by", "line"], ["--filter", "ppl<5"]])
def test_a_view_and_rows_exclude_each_other(gpt2: Gpt2, other: list[str]) -> None:
    result = gpt2("score", "-m", "stories", "--view", *other, stdin=b"text")
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.count(b"\n") == 1
