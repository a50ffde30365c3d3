"""The extension of an output file is its format, in every command that writes one."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import save_model_folder
from conftest import COMMAND, Gpt2

TEXT = "One two, three"
GENERATE = ["generate", "One", "-n", "6", "--seed", "1"]
SCORE = ["score", "--text", TEXT]
NEXT = ["next", TEXT]
# Read as lines from standard input.
RANK = ["rank"]
TOKENIZE = ["tokenize", "--text", TEXT]
COMMANDS = [GENERATE, SCORE, NEXT, RANK, TOKENIZE]
WORDS = {command[0]: command for command in COMMANDS}
# The command, an extension, and the options whose output on stdout the file has.
SAME = [
    *((name, ".txt", []) for name in WORDS),
    # The reading of names is shared by all commands.
    *(
        (name, extension, [])
        for name, extension in zip(WORDS, (".TXT", "", ".8", ".2024-01-01", ""), strict=True)
    ),
    ("generate", ".md", []),
    ("generate", ".jsonl", ["--json"]),
    ("generate", ".ndjson", ["--json"]),
    ("generate", ".json", ["--json"]),
    *(("score", f".{kind}", [f"--{kind}"]) for kind in ("tsv", "csv", "json")),
    ("score", ".jsonl", ["--json-rows"]),
    ("next", ".tsv", []),
    ("next", ".json", ["--json"]),
    ("rank", ".jsonl", ["--json"]),
    ("tokenize", ".json", ["--json"]),
    ("tokenize", ".jsonl", ["--json"]),
    ("tokenize", ".tsv", ["--pieces"]),
]
REFUSED = [
    *zip(WORDS, (".xlsx", ".csvv", ".gz", ".Parquet", ".xlsx"), strict=True),
    *(("generate", extension) for extension in (".csv", ".tsv", ".html", ".npy")),
    *(("next", extension) for extension in (".html", ".md", ".u16")),
    *(("rank", extension) for extension in (".html", ".md", ".u16")),
    *(("score", extension) for extension in (".npy", ".md", ".bin")),
    *(("tokenize", extension) for extension in (".csv", ".png", ".md", ".bin")),
]
CONTRADICTIONS = [
    (["score", "--csv", "--text", TEXT], ".json", "--csv and -o"),
    (["score", "--json", "--text", TEXT], ".jsonl", "--json and -o"),
    (["score", "--view", "--text", TEXT], ".csv", "--view and -o"),
    (["score", "--tsv", "--text", TEXT], ".png", "--tsv exclude"),
    (["score", "--pairs", "-"], ".csv", "--pairs and -o"),
    (["score", "--filter", "ppl<50"], ".tsv", "--filter and -o"),
    ([*NEXT, "--json"], ".csv", "--json and -o"),
    ([*RANK, "--json"], ".tsv", "--json and -o"),
    ([*TOKENIZE, "--json"], ".tsv", "--json and -o"),
    ([*TOKENIZE, "--json"], ".npy", "--json and -o"),
    ([*TOKENIZE, "--count"], ".html", "--count and -o"),
    ([*TOKENIZE, "--view"], ".u16", "--view and -o"),
    ([*TOKENIZE, "--format", "u16"], ".npy", "--format u16 and -o"),
    ([*TOKENIZE, "--format", "u32"], ".txt", "--format u32 and -o"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    save_model_folder(folder, n_positions=64)
    return folder


@pytest.fixture
def run(gpt2: Gpt2, checkpoint: Path) -> Callable[..., Any]:
    def run(words: Sequence[str | Path], **options: Any) -> Any:
        return gpt2(*words, "-m", checkpoint, stdin=b"One two\nthree\n", **options)

    return run


def without_times(output: bytes) -> bytes:
    """Return what a command wrote without the seconds that generate reports."""
    if not output.startswith(b'{"index": 1, "text"'):
        return output
    lines = [json.loads(line) for line in output.splitlines()]
    return json.dumps([line | {"timing": None} for line in lines]).encode()


@pytest.fixture(scope="module")
def outputs() -> dict[tuple[str, ...], bytes]:
    """Return what commands with options have printed so far."""
    return {}


@pytest.fixture
def printed(run: Callable[..., Any], outputs: dict[tuple[str, ...], bytes]) -> Callable[..., bytes]:
    def printed(*words: str) -> bytes:
        if words not in outputs:
            outputs[words] = without_times(run([*WORDS[words[0]], *words[1:]]).stdout)
        return outputs[words]

    return printed


@pytest.mark.slow
@pytest.mark.parametrize(("name", "extension", "options"), SAME)
def test_a_file_has_the_format_of_its_extension(
    run: Callable[..., Any],
    printed: Callable[..., bytes],
    tmp_path: Path,
    name: str,
    extension: str,
    options: list[str],
) -> None:
    target = tmp_path / f"out{extension}"
    done = run([*WORDS[name], "-o", target])
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    expected = printed(name, *options)
    assert without_times(target.read_bytes()) == expected
    if options:
        # The option that the extension stands for may be given too.
        assert run([*WORDS[name], *options, "-o", target]).returncode == 0
        assert without_times(target.read_bytes()) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("name", "extension"), REFUSED)
def test_an_extension_that_a_command_cannot_write_is_refused_before_any_work(
    gpt2: Gpt2, tmp_path: Path, name: str, extension: str
) -> None:
    target = tmp_path / f"out{extension}"
    # A model that is missing would be an error of its own, with another exit code.
    done = gpt2(*WORDS[name], "-o", target, "-m", tmp_path / "missing")
    message = done.stderr.decode()
    assert (done.returncode, done.stdout, message.count("\n")) == (2, b"", 1)
    assert f"-o {target}: " in message
    assert ".txt" in message or "--format u16" in message
    assert not target.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("words", "extension", "message"), CONTRADICTIONS)
def test_an_option_that_contradicts_the_extension_is_refused_before_any_work(
    gpt2: Gpt2, tmp_path: Path, words: list[str], extension: str, message: str
) -> None:
    done = gpt2(*words, "-o", tmp_path / f"out{extension}", "-m", tmp_path / "missing")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert message in done.stderr.decode()
    assert list(tmp_path.glob("out*")) == []


@pytest.mark.slow
def test_rows_are_the_same_in_every_table(run: Callable[..., Any], tmp_path: Path) -> None:
    for words in (SCORE, NEXT, RANK):
        files = {kind: tmp_path / f"{words[0]}.{kind}" for kind in ("tsv", "csv", "json", "jsonl")}
        for file in files.values():
            assert run([*words, "-o", file]).returncode == 0
        whole = json.loads(files["json"].read_text())
        lines = [json.loads(line) for line in files["jsonl"].read_text().splitlines()]
        shared = {name: value for name, value in whole.items() if name not in ("rows", "documents")}
        assert lines == [row | shared for row in whole["rows"]]
        for kind, delimiter in (("tsv", "\t"), ("csv", ",")):
            table = list(csv.DictReader(io.StringIO(files[kind].read_text()), delimiter=delimiter))
            assert [list(row) for row in table] == [list(line) for line in lines]
            assert [row["surprisal"] for row in table] == [
                "" if line["surprisal"] is None else str(line["surprisal"]) for line in lines
            ]


@pytest.mark.slow
def test_a_json_file_of_several_samples_or_files_is_a_list(run: Callable[..., Any], tmp_path: Path) -> None:
    target, text = tmp_path / "out.json", tmp_path / "text.txt"
    run([*GENERATE, "--num-samples", "3", "--batch-size", "2", "-o", target])
    printed = run([*GENERATE, "--num-samples", "3", "--json"]).stdout.splitlines()
    written = json.loads(target.read_text())
    assert [entry["text"] for entry in written] == [json.loads(line)["text"] for line in printed]
    text.write_text("a}\n{b\n")
    run(["tokenize", text, text, "--pieces", "-o", target])
    one = json.loads(run(["tokenize", text, "--json", "--pieces"]).stdout)
    assert json.loads(target.read_text()) == [one, one]


@pytest.mark.slow
def test_pictures_and_pages_need_no_other_option(run: Callable[..., Any], tmp_path: Path) -> None:
    starts = {"html": b"<!doctype html>", "htm": b"<!doctype html>", "svg": b"<svg", "png": b"\x89PNG"}
    for extension, start in starts.items():
        target = tmp_path / f"out.{extension}"
        assert run([*SCORE, "-o", target]).returncode == 0
        assert target.read_bytes().startswith(start)
    page = tmp_path / "tokens.html"
    assert run([*TOKENIZE, "-o", page]).returncode == 0
    assert page.read_bytes().startswith(b"<!doctype html>")
    again = tmp_path / "again.html"
    run([*TOKENIZE, "--view", "-o", again])
    assert again.read_bytes() == page.read_bytes()


@pytest.mark.slow
def test_binary_ids_need_no_other_option(run: Callable[..., Any], tmp_path: Path) -> None:
    ids = json.loads(run([*TOKENIZE, "--json"]).stdout)["ids"]
    for extension, dtype in (("u16", "<u2"), ("u32", "<u4")):
        target = tmp_path / f"out.{extension}"
        assert run([*TOKENIZE, "-o", target]).returncode == 0
        assert np.fromfile(target, dtype).tolist() == ids
        bare = tmp_path / "out.bin"
        assert run([*TOKENIZE, "--format", extension, "-o", bare]).returncode == 0
        assert bare.read_bytes() == target.read_bytes()
    run([*TOKENIZE, "-o", tmp_path / "out.npy"])
    assert np.load(tmp_path / "out.npy").tolist() == ids


def test_text_of_the_users_own_may_have_any_extension(run: Callable[..., Any], tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    run([*TOKENIZE, "-o", ids])
    for name in ("page.html", "main.c", "data.json"):
        assert run(["tokenize", "--decode", ids, "-o", tmp_path / name]).returncode == 0
        assert (tmp_path / name).read_text() == TEXT
    lines = tmp_path / "clean.en"
    assert run(["score", "--filter", "tokens>0", "-o", lines]).returncode == 0
    assert lines.read_bytes() == b"One two\nthree\n"


@pytest.mark.slow
def test_a_pipe_and_a_device_take_any_format_under_any_name(
    run: Callable[..., Any], environment: dict[str, str], checkpoint: Path, tmp_path: Path
) -> None:
    printed = run(GENERATE).stdout
    assert run([*GENERATE, "-o", "/dev/stdout"]).stdout == printed
    assert run([*GENERATE, "-o", "/dev/null"]).stdout == b""
    pipe = tmp_path / "pipe.fifo"
    os.mkfifo(pipe)
    words = [*COMMAND, *GENERATE, "-m", str(checkpoint), "-o", str(pipe)]
    with subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL) as process:
        assert pipe.read_bytes() == printed
        assert process.wait() == 0


@pytest.mark.slow
def test_a_hyphen_is_stdout(run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (TOKENIZE, SCORE, ["compress", "--text", "a"]):
        assert run([*command, "-o", "-"]).stdout == run(command).stdout != b""
    assert not list(tmp_path.iterdir())
