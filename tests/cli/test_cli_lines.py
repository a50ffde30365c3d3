"""Many lines in one run: pipes, coprocesses, files that grow, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from checkpoints import save_model_folder
from conftest import COMMAND, Gpt2
from terminal import Terminal, start

from gpt2cli.cli import app

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lines")
    save_model_folder(folder)
    return folder


def parsed(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def as_lines(*objects: Any) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in objects)


def test_each_line_gets_an_answer_that_generate_gives_too(gpt2: Gpt2, checkpoint: Path) -> None:
    lines = as_lines({"prompt": "Once", "id": "a"}, {"prompt": "x", "max_tokens": 3}) + b"nonsense\n"
    done = gpt2("generate", "--jsonl", "-", "-m", checkpoint, "-n", "9", "--seed", "1", stdin=lines)
    assert (done.returncode, done.stderr) == (1, b"note: 1 line failed\n")
    first, second, third = parsed(done.stdout)
    assert list(first) == ["v", "line", "id", "choices", "usage", "seed", "prompt_truncated", "model"]
    assert (second["line"], second["usage"]["completion_tokens"]) == (2, 3)
    assert third["error"]["code"] == "invalid_json"
    seed = str(first["seed"])
    alone = gpt2("generate", "Once", "-m", checkpoint, "-n", "9", "--seed", seed)
    assert alone.stdout.decode() == first["choices"][0]["text"] + "\n"


def test_a_coprocess_gets_each_answer_before_it_writes_the_next_line(
    environment: dict[str, str], checkpoint: Path
) -> None:
    for words, line in (("generate -n 3", {"prompt": "Once"}), ("score", {"text": "Once"})):
        command = [*COMMAND, *words.split(), "--jsonl", "-", "-m", str(checkpoint)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe) as process:
            assert process.stdin
            assert process.stdout
            for number in (1, 2):
                process.stdin.write(as_lines(line))
                process.stdin.flush()
                assert json.loads(process.stdout.readline())["line"] == number
            process.stdin.close()
            assert process.stdout.read() == b""
        assert process.returncode == 0


def test_a_run_goes_on_where_it_broke_off(gpt2: Gpt2, checkpoint: Path, tmp_path: Path) -> None:
    source, output, whole = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "whole.jsonl"))
    source.write_bytes(as_lines(*({"prompt": f"Once {number}"} for number in range(9))) + b"bad\n")
    run = ["generate", "--jsonl", source, "-m", checkpoint, "-n", "4"]
    assert gpt2(*run, "--seed", "3", "-o", whole).returncode == 1
    # As if it had been killed in the middle of the fifth answer.
    kept = b"".join(whole.read_bytes().splitlines(keepends=True)[:5])[:-9]
    output.write_bytes(kept)
    record = json.loads(whole.with_name("whole.jsonl.run").read_bytes())
    output.with_name("out.jsonl.run").write_text(json.dumps(record | {"done": False}))
    refused = gpt2(*run, "-o", output)
    assert (refused.returncode, output.read_bytes()) == (2, kept)
    assert b"holds the answers of an unfinished run. --resume goes on with it" in refused.stderr
    other = gpt2(*run, "-o", output, "--resume", "--top-k", "3")
    assert (other.returncode, output.read_bytes()) == (2, kept)
    assert b"was made with top_k 40, not 3. --resume needs the same settings." in other.stderr
    resumed = gpt2(*run, "-o", output, "--resume")
    assert (resumed.returncode, output.read_bytes()) == (1, whole.read_bytes())
    assert b"4 lines are done; going on with the others" in resumed.stderr
    source.write_bytes(source.read_bytes().replace(b"Once 1", b"Once 7"))
    changed = gpt2(*run, "-o", output, "--resume")
    assert b"was made from another input. --resume needs the same." in changed.stderr


def test_a_table_is_scored_with_its_columns(gpt2: Gpt2, checkpoint: Path, tmp_path: Path) -> None:
    table = tmp_path / "items.csv"
    table.write_text('item,text\n1,"One, two"\n2,Three\n')
    done = gpt2("score", "--jsonl", table, "--field", "text", "-m", checkpoint, "--shard", "2/2")
    (only,) = parsed(done.stdout)
    assert list(only) == [
        "v",
        "line",
        "id",
        "fields",
        "logprob",
        "is_greedy",
        "tokens",
        "perplexity",
        "model",
    ]
    assert (only["line"], only["fields"]) == (2, {"item": "2"})
    made = gpt2("generate", "-f", table, "--field", "text", "-m", checkpoint, "-n", "2", "--unordered")
    assert sorted(entry["line"] for entry in parsed(made.stdout)) == [1, 2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("generate Once --jsonl -", "--jsonl and PROMPT exclude each other."),
        ("generate --jsonl - -f x", "--jsonl and --file exclude each other."),
        ("generate Once --resume", "--resume is for many lines. Name them with --jsonl."),
        ("generate --jsonl - --resume", "--resume needs -o FILE."),
        ("generate --jsonl - -o a.csv", "this command does not write .csv."),
        ("generate --jsonl none.jsonl", "none.jsonl: No such file or directory."),
        ("score a --jsonl -", "--jsonl and FILE exclude each other."),
        ("score --jsonl - --by word", "--jsonl and --by exclude each other."),
        ("score --jsonl - --shard 3/2", "--shard must be I/N, such as 1/4, or auto, not '3/2'."),
        ("score a --jsonl", "--json-rows prints rows as JSON lines"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_model_is_loaded(
    words: str, message: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What follows an option without its value would be taken for it.
    model = [] if words.endswith("--jsonl") else ["-m", "no-such-model"]
    monkeypatch.setattr("sys.argv", ["gpt2", *words.split(), *model])
    with pytest.raises(SystemExit) as ended:
        app.run()
    assert ended.value.code in (1, 2)
    assert message in capfd.readouterr().err


def test_the_bar_on_a_terminal_leaves_the_answers_alone(
    environment: dict[str, str], checkpoint: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(as_lines({"prompt": "Once"}) * 3)
    terminal = Terminal()
    words = ["generate", "--jsonl", str(source), "-m", str(checkpoint), "-n", "3", "-o", str(output)]
    process = start(words, environment, stderr=terminal.slave, stdout=os.open(os.devnull, os.O_WRONLY))
    terminal.read_all()
    assert process.wait(30) == 0
    assert len(parsed(output.read_bytes())) == 3
