"""Long runs with flat memory and open files: `make soak`, or `make soak TOKENS=1000 REQUESTS=0 MINUTES=1`."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from checkpoints import save_model_folder
from conftest import COMMAND
from runs import POEM

import gpt2cli

# Of a run, in which memory may still grow: buffers, caches, what Python keeps.
WARM_UP = 0.3
# By which memory may then grow. A text's tokens are kept to its end, some hundred bytes each.
SLACK = 16 << 20
SAMPLES = 50


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
        prompt = "a cat " * (number % 5 + 1)
        if number % 3 == 2:
            loaded.score(prompt)
        else:
            loaded.generate(prompt, max_tokens=number % 4 + 1, seed=number)
        if number % max(count // SAMPLES, 1) == 0:
            yield use_of(os.getpid())


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
    arguments += ["--minutes", str(minutes), "--eval-every", "200", "--device", "cpu", "--threads", "1"]
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
            require_flat(f"{asked.requests:,} requests", list(requests(folder / "model", asked.requests)))


if __name__ == "__main__":
    main()
