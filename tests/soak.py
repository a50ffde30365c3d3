"""Long runs with flat memory and open files: `make soak`, or `make soak TOKENS=1000 REQUESTS=0 MINUTES=1`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, NamedTuple

from checkpoints import save_model_folder
from conftest import COMMAND
from runs import POEM

import gpt2cli

# Of a run, in which memory may still grow: buffers, caches, what Python keeps.
WARM_UP = 0.3
# By which memory may then grow. A text's tokens are kept to its end, some hundred bytes each.
SLACK = 16 << 20
SAMPLES = 50
PROMPT = "a cat "
CLIENTS = 8
JSON = {"Content-Type": "application/json"}


class Use(NamedTuple):
    """What a process holds: memory in bytes, and open files."""

    memory: int
    files: int


def use_of(process: int) -> Use:
    """Return what a process holds now."""
    folder = Path(f"/proc/{process}")
    resident = int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return Use(resident, len(list((folder / "fd").iterdir())))


def require_flat(what: str, uses: list[Use]) -> None:
    """Check that memory and open files stayed as they were after the warm-up.

    Raises:
        AssertionError: they grew.
    """
    settled = uses[int(len(uses) * WARM_UP) :]
    assert len(settled) > 4, f"{what}: too short to tell"
    first, most = settled[0].memory, max(use.memory for use in settled)
    # A file that is being written is open for a moment. What is never closed adds up.
    half = len(settled) // 2
    before, after = max(use.files for use in settled[:half]), min(use.files for use in settled[half:])
    print(f"{what}: {first >> 20} MB, at most {most >> 20} MB later; {after} open files", flush=True)
    assert most <= first + SLACK, f"{what}: memory grew from {first:,} to {most:,} bytes"
    assert after <= before, f"{what}: from {before} to {after} open files"


def requests(model: Path, count: int) -> Iterator[Use]:
    """Yield what this process holds while it answers requests of different lengths."""
    loaded = gpt2cli.load(str(model), device="cpu", threads=1, offline=True)
    for number in range(count):
        prompt = PROMPT * (number % 5 + 1)
        if number % 3 == 2:
            loaded.score(prompt)
        else:
            loaded.generate(prompt, max_tokens=number % 4 + 1, seed=number)
        if number % max(count // SAMPLES, 1) == 0:
            yield use_of(os.getpid())


def lines(model: Path, count: int) -> Iterator[Use]:
    """Yield what a command holds while it answers lines of different lengths."""
    arguments = ["generate", "--jsonl", "-", "-m", str(model), "-n", "4", "-s", "1", "--threads", "1"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin
    assert process.stdout
    feeder = threading.Thread(target=_feed, args=(process.stdin, count))
    feeder.start()
    answers = 0
    for answers, answer in enumerate(process.stdout, 1):
        assert b'"text"' in answer, answer
        if answers % max(count // SAMPLES, 1) == 0 and process.poll() is None:
            yield use_of(process.pid)
    feeder.join()
    assert (process.wait(), answers) == (0, count)


def _feed(stdin: IO[bytes], count: int) -> None:
    with stdin:
        for number in range(count):
            stdin.write(json.dumps({"prompt": PROMPT * (number % 5 + 1)}).encode() + b"\n")


def served(model: Path, count: int) -> Iterator[Use]:
    """Yield what a server holds while clients come, ask for texts and scores, and go."""
    arguments = ["serve", "-m", str(model), "--port", "0", "-q", "--device", "cpu", "--threads", "1"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout
    address = process.stdout.readline().strip().removeprefix("http://")
    try:
        with ThreadPoolExecutor(CLIENTS) as clients:
            for _ in range(SAMPLES):
                shares = [max(count // SAMPLES // CLIENTS, 1)] * CLIENTS
                list(clients.map(_ask, [address] * CLIENTS, shares))
                yield use_of(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _ask(address: str, count: int) -> None:
    with closing(HTTPConnection(address, timeout=600)) as connection:
        for number in range(count):
            asked = {"prompt": PROMPT * (number % 5 + 1), "max_tokens": number % 4 + 1, "seed": number}
            asked |= {"echo": True, "max_tokens": 0, "logprobs": 1} if number % 3 == 2 else {}
            connection.request("POST", "/v1/completions", json.dumps(asked), JSON)
            response = connection.getresponse()
            answer = response.read()
            assert response.status == 200, answer


def tokens(model: Path, count: int) -> Iterator[Use]:
    """Yield what a command holds while it writes a text that is longer than its context by far."""
    arguments = [
        "generate",
        "a cat",
        "-m",
        str(model),
        "-n",
        str(count),
        "--overflow",
        "slide",
        "--ignore-eos",
    ]
    # A line for each token, so that they can be counted.
    process = subprocess.Popen(
        [*COMMAND, *arguments, "-s", "1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout
    seen, due = 0, 0
    while data := os.read(process.stdout.fileno(), 4096):
        seen += len(data)
        if seen >= due and process.poll() is None:
            yield use_of(process.pid)
            due += max(count // SAMPLES, 1)
    assert process.wait() == 0


def training(folder: Path, minutes: float) -> Iterator[Use]:
    """Yield what a command holds while it trains, once for each of its evaluations."""
    text = folder / "poem.txt"
    text.write_text(POEM)
    arguments = [
        "train",
        str(text),
        "-o",
        str(folder / "run"),
        "--layers",
        "1",
        "--width",
        "32",
        "--heads",
        "2",
    ]
    arguments += ["--context", "32", "--vocab", "300", "--batch-tokens", "256", "--steps", "100000000"]
    arguments += ["--minutes", str(minutes), "--patience", "0", "--eval-every", "200"]
    arguments += ["--device", "cpu", "--threads", "1"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    for _ in process.stderr:
        if process.poll() is None:
            yield use_of(process.pid)
    assert process.wait() == 0


def main() -> None:
    """Make the long runs that the command line asks for."""
    parser = argparse.ArgumentParser(prog="make soak", description="Check that long runs stay small.")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=60.0, help="of training")
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="gpt2-soak-") as name:
        folder = Path(name)
        save_model_folder(folder / "model", n_positions=32, n_embd=16, n_layer=1, n_head=2)
        if asked.tokens:
            require_flat(f"{asked.tokens:,} tokens", list(tokens(folder / "model", asked.tokens)))
        if asked.minutes:
            require_flat(f"{asked.minutes:g} minutes of training", list(training(folder, asked.minutes)))
        if asked.requests:
            count = f"{asked.requests:,}"
            require_flat(f"{count} requests", list(requests(folder / "model", asked.requests)))
            require_flat(f"{count} lines", list(lines(folder / "model", asked.requests)))
            require_flat(f"{count} requests to a server", list(served(folder / "model", asked.requests)))


if __name__ == "__main__":
    main()
