"""Many lines in one run: killed at random moments, with little memory, and with readers that stop."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from checkpoints import save_model_folder
from conftest import COMMAND

from gpt2cli.serving.journal import read_answers

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

LINES = 800
MANY = 100_000
DONE = 1_000_000


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many-lines")
    save_model_folder(folder, n_positions=64, n_layer=1, n_embd=8, n_head=2)
    return folder


def request(number: int) -> dict[str, Any]:
    lengths = random.Random(number)
    return {
        "prompt": "Once " * lengths.randint(1, 12),
        "max_tokens": lengths.randint(1, 12),
        "stream": number % 5 == 0,
    }


def place(entry: dict[str, Any]) -> tuple[int, bool]:
    return entry["line"], "delta" not in entry


def parsed(data: bytes) -> Iterator[dict[str, Any]]:
    return map(json.loads, data.splitlines())


@pytest.mark.parametrize("extra", [[], ["--unordered"]], ids=["ordered", "unordered"])
def test_a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one(
    environment: dict[str, str], checkpoint: Path, tmp_path: Path, extra: list[str]
) -> None:
    source, whole, output = (tmp_path / name for name in ("in.jsonl", "whole.jsonl", "out.jsonl"))
    with source.open("w") as file:
        for number in range(LINES):
            print("nonsense" if number == 7 else json.dumps(request(number)), file=file)
    run = [*COMMAND, "generate", "--jsonl", str(source), "-m", str(checkpoint), "--seed", "4", "-q", *extra]
    undisturbed = subprocess.run([*run, "-o", str(whole)], env=environment, check=False)
    assert undisturbed.returncode == 1
    moments = random.Random(1)
    kills = before = 0
    while True:
        process = subprocess.Popen([*run, "-o", str(output), "--resume"], env=environment)
        # Each run gets some lines further; when exactly it dies is left to chance.
        while process.poll() is None and (output.stat().st_size if output.exists() else 0) <= before:
            time.sleep(0.001)
        time.sleep(moments.random() * 0.2)
        before = output.stat().st_size
        if process.poll() is not None:
            break
        process.kill()
        assert process.wait() in (-signal.SIGKILL, 1)
        kills += 1
    assert process.returncode == 1
    assert kills >= 5
    found, expected = list(parsed(output.read_bytes())), list(parsed(whole.read_bytes()))
    # Each line has one last answer, and its pieces once and in their order.
    assert sorted(found, key=place) == sorted(expected, key=place)
    if not extra:
        final = [entry["line"] for entry in found if "delta" not in entry]
        assert final == list(range(1, LINES + 1))


def test_memory_is_flat_over_many_lines(
    environment: dict[str, str], checkpoint: Path, tmp_path: Path
) -> None:
    command = [*COMMAND, "generate", "--jsonl", "-", "-m", str(checkpoint), "-n", "2", "-q"]
    with (tmp_path / "in.jsonl").open("w") as lines:
        for number in range(MANY):
            print(json.dumps({"prompt": "Once", "id": number}), file=lines)
    early, late, count = follow(command, environment, tmp_path / "in.jsonl")
    assert count == MANY
    assert late - early < 4 << 20


def follow(command: list[str], environment: dict[str, str], source: Path) -> tuple[int, int, int]:
    """Return the memory of a process after a tenth of the answers and near their end, and their number."""
    early = late = count = 0
    with (
        source.open("rb") as lines,
        subprocess.Popen(command, env=environment, stdin=lines, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout
        memory = psutil.Process(process.pid)
        for count, data in enumerate(process.stdout, 1):
            assert json.loads(data)["line"] == count
            if count == MANY // 10:
                early = memory.memory_info().rss
            if count == MANY - 1000:
                late = memory.memory_info().rss
    assert process.returncode == 0
    return early, late, count


@pytest.mark.parametrize("command", ["generate", "score"])
def test_a_reader_that_stops_reading_stops_the_work_and_costs_no_memory(
    environment: dict[str, str], checkpoint: Path, command: str
) -> None:
    name = "prompt" if command == "generate" else "text"
    line = json.dumps({name: "Once"}).encode() + b"\n"
    words = [*COMMAND, command, "--jsonl", "-", "-m", str(checkpoint), "-q"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=environment, stdin=pipe, stdout=pipe) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(line)
        process.stdin.flush()
        process.stdout.readline()
        # Nobody reads from here on, so that the writer must be stopped too.
        os.set_blocking(process.stdin.fileno(), False)
        written = quiet = 0
        usage = psutil.Process(process.pid)
        spent = usage.cpu_times().user
        while quiet < 20:
            written += try_to_write(process.stdin.fileno(), line * 100)
            time.sleep(0.05)
            quiet = quiet + 1 if usage.cpu_times().user == spent else 0
            spent = usage.cpu_times().user
        assert written < 4 << 20
        assert usage.memory_info().rss < 1 << 30
        # It ends as the reader does.
        process.stdout.close()
        os.set_blocking(process.stdin.fileno(), True)
        assert process.wait(60) == -signal.SIGPIPE


def try_to_write(descriptor: int, data: bytes) -> int:
    """Return how many bytes a pipe took that may be full."""
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0


def test_a_million_lines_that_are_done_are_passed_quickly(
    environment: dict[str, str], checkpoint: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    prompt = json.dumps({"prompt": "Once upon a time there was a princess"}) + "\n"
    source.write_text(prompt * 3)
    run = [
        *COMMAND,
        "generate",
        "--jsonl",
        str(source),
        "-m",
        str(checkpoint),
        "-n",
        "24",
        "-q",
        "-o",
        str(output),
    ]
    subprocess.run(run, env=environment, check=True)
    one = json.loads(output.read_bytes().splitlines()[0])
    record = json.loads(output.with_name("out.jsonl.run").read_bytes())
    with source.open("a") as lines, output.open("w") as answers:
        lines.write(prompt * (DONE - 2))
        for number in range(1, DONE + 1):
            answers.write(json.dumps(one | {"line": number}) + "\n")
    output.with_name("out.jsonl.run").write_text(json.dumps(record | {"done": False}))
    size = output.stat().st_size
    done = subprocess.run([*run, "--resume"], env=environment, check=True)
    assert done.returncode == 0
    answered = read_answers(output)
    assert (len(answered.lines), answered.kept > size) == (DONE + 1, True)
