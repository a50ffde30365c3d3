"""`gpt2 train` as users run it: files, folders, signals, several processes and one-line errors."""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import signal
import subprocess
import sys
from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
import torch
from checkpoints import load_checkpoint
from conftest import COMMAND, Gpt2, obey_permissions, run_limited
from runs import POEM, losses
from terminal import Terminal
from transformers import AutoTokenizer, GPT2LMHeadModel

from gpt2cli.cli.app import app

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "gpt2cli"]
SHAPE = ["--layers", "1", "--heads", "2", "--width", "16", "--context", "24", "--vocab", "290"]
SHORT = [*SHAPE, "--batch-tokens", "96", "--steps", "6", "--eval-every", "3", "--threads", "1"]
# Longer than any test waits, and steps that are still short.
LONG = [*SHAPE, "--batch-tokens", "96", "--eval-every", "50", "--patience", "0", "--threads", "1"]


@pytest.fixture
def poem(tmp_path: Path) -> Path:
    path = tmp_path / "poem.txt"
    path.write_text(POEM)
    return path


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return environment | {"OMP_NUM_THREADS": "1"}


def evaluations(folder: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [line for line in lines if "valid_loss" in line]


def train(*arguments: str | Path | float) -> None:
    """Run the command in this process, where PyTorch is loaded already."""
    app(["train", *map(str, arguments)], prog_name="gpt2", standalone_mode=False)


def start(command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_for(process: subprocess.Popen[bytes], beginning: bytes) -> None:
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith(beginning):
            return
    raise AssertionError(seen)


@pytest.mark.slow
def test_a_new_model_is_an_ordinary_folder_that_transformers_reads_alike(
    gpt2: Gpt2, poem: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "model"
    result = gpt2("train", poem, "-o", folder, *SHORT)
    assert (result.returncode, result.stdout) == (0, os.fsencode(folder) + b"\n")
    assert b"\x1b" not in result.stderr
    assert b"1 document, " in result.stderr
    assert b" of memory\n" in result.stderr
    assert re.search(rb"held out, step 6: loss \d\.\d+  perplexity [\d.]+  \d\.\d+ bits/byte", result.stderr)
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"),
        *("last", "resume", "log.jsonl", "loss.svg", "README.md"),
    }
    for path in (folder, folder / "last"):
        ids = AutoTokenizer.from_pretrained(path)("The lark", return_tensors="pt")["input_ids"]
        model = GPT2LMHeadModel.from_pretrained(path).eval()
        with torch.no_grad():
            expected = model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=0)[0]
        text = AutoTokenizer.from_pretrained(path).decode(expected)
        greedy = gpt2(
            "generate", "The lark", "--echo", "-m", path, "-n", "12", "--temperature", "0", "--ignore-eos"
        )
        assert greedy.stdout.decode() == text + "\n"


@pytest.mark.slow
def test_fine_tuning_lowers_the_held_out_bits_per_byte(poem: Path, tmp_path: Path) -> None:
    parent, other = tmp_path / "parent", tmp_path / "other.txt"
    train(poem, "-o", parent, *SHAPE, "--steps", 60, "--threads", 1)
    other.write_text("\n".join(" ".join(reversed(line.split())) for line in POEM.splitlines()))
    for name, options in {"whole": (), "lora": ("--lora", 4)}.items():
        child = tmp_path / name
        train(other, "--from", parent, "-o", child, "--steps", 40, "--lr", 0.01, "--threads", 1, *options)
        before, *_, after = (record["bits_per_byte"] for record in evaluations(child))
        assert after < before - 0.2, name


@pytest.mark.slow
def test_a_copy_with_cr_lf_trains_to_the_same_numbers(poem: Path, tmp_path: Path) -> None:
    windows = tmp_path / "windows.txt"
    windows.write_bytes(BOM_UTF8 + POEM.replace("\n", "\r\n").encode())
    folders = []
    for text in (poem, windows):
        folders.append(tmp_path / f"{text.stem}-model")
        train(text, "-o", folders[-1], *SHORT)
    one, other = folders
    assert losses(one) == losses(other)
    for name in ("resume/train.npy", "resume/valid.npy", "tokenizer.json", "model.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.slow
def test_special_tokens_within_lines_are_noted_and_on_request_separate_documents(
    gpt2: Gpt2, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inline, lines = tmp_path / "inline.txt", tmp_path / "lines.txt"
    verses = [verse + "\n\n" for verse in POEM.split("\n\n") if verse]
    inline.write_text("<|endoftext|>".join(verses))
    lines.write_text("<|endoftext|>\n".join(verses))

    def stderr_of(text: Path, folder: str, *options: str) -> str:
        train(text, "-o", tmp_path / folder, *SHORT, *options)
        return capfd.readouterr().err

    noted = gpt2("train", inline, "-o", tmp_path / "noted", *SHORT).stderr.decode()
    note = f"note: {inline} has <|endoftext|>, read as plain text; --special parses special tokens\n"
    assert noted.startswith(note)
    assert "\n1 document, " in noted
    for text, options in ((inline, ["--special"]), (lines, [])):
        assert stderr_of(text, text.stem, *options).startswith(f"{len(verses)} documents, ")
    assert losses(tmp_path / "inline") == losses(tmp_path / "lines")
    train("--resume", "-o", tmp_path / "inline")
    inline.write_text("".join(f"<|startoftext|>{verse}<|endoftext|>" for verse in verses))
    made = stderr_of(inline, "made", "--special")
    assert f"note: {inline} has <|startoftext|>, read as plain text; this tokenizer has no such" in made


@pytest.mark.slow
def test_tables_folders_and_compressed_files_train(gpt2: Gpt2, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    verses = [verse for verse in POEM.split("\n\n") if verse]
    table = "id,verse\r\n" + "".join(f'{n},"{verse}"\r\n' for n, verse in enumerate(verses))
    (folder / "poem.csv.gz").write_bytes(gzip.compress(table.encode()))
    (folder / ".hidden").write_bytes(b"\xff")
    done = gpt2("train", folder, "--field", "verse", "-o", tmp_path / "made", *SHORT)
    assert (done.returncode, done.stdout) == (0, os.fsencode(tmp_path / "made") + b"\n")
    assert done.stderr.startswith(f"{len(verses)} documents, ".encode())
    wrong = gpt2("train", folder, "-o", tmp_path / "wrong", *SHORT)
    assert wrong.returncode == 1
    assert wrong.stderr.decode() == (
        f"Error: {folder}/poem.csv.gz has no column 'text', only 'id', 'verse'. Name one in --field.\n"
    )


@pytest.mark.slow
def test_ctrl_c_and_kill_lose_no_digit(poem: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    options = [*LONG, "--steps", "200", "--dropout", "0.1"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(poem, "-o", whole, *options)

    process = start([*COMMAND, "train", str(poem), "-o", str(parts), *options], environment)
    wait_for(process, b"step 24/200")
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (-signal.SIGINT, b"")
    assert b"Stopped after step " in errors
    stopped = losses(parts)

    process = start([*COMMAND, "train", "--resume", "-o", str(parts)], environment)
    wait_for(process, b"step 108/200")
    process.kill()
    process.communicate(timeout=60)
    assert losses(parts)[: len(stopped)] == stopped
    # What a kill leaves behind is whole, whenever it came.
    for folder in (parts, parts / "last"):
        assert load_checkpoint(folder).config.n_embd == 16

    train("--resume", "-o", parts)
    assert losses(parts) == losses(whole)


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(poem: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    endless = ["--steps", "2", "--batch-tokens", "100000000"]
    process = start([*COMMAND, "train", str(poem), "-o", str(tmp_path / "x"), *SHAPE, *endless], environment)
    wait_for(process, b"held out, step 0")
    process.send_signal(signal.SIGINT)
    wait_for(process, b"Stopping after this step")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert b"Traceback" not in errors


@pytest.mark.slow
def test_processes_of_torchrun_give_the_losses_of_one_and_their_number_may_change(
    poem: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    options = [*LONG, "--steps", "60", "--micro-batch", "1", "--optimizer", "adamw", "--dropout", "0.1"]
    # The processes look at the clock together, which leaves a run that fits as it is.
    options += ["--dtype", "float32", "--minutes", "60"]
    alone, together = tmp_path / "alone", tmp_path / "together"
    train(poem, "-o", alone, *options)
    process = start([*TORCHRUN, "train", str(poem), "-o", str(together), *options], environment)
    wait_for(process, b"step 12/60")
    # A terminal sends Ctrl-C to all of them, and torchrun sends it once more.
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert out == b""
    assert errors.count(b"Stopped after step ") == 1
    train("--resume", "-o", together)
    assert losses(together) == pytest.approx(np.array(losses(alone)), abs=1e-5)


@pytest.mark.slow
def test_the_death_of_a_process_ends_the_job_with_a_message(
    poem: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    process = start(
        [*TORCHRUN, "train", str(poem), "-o", str(tmp_path / "x"), *LONG, "--steps", "1000000"], environment
    )
    wait_for(process, b"step 12/")
    (victim,) = (
        child for child in psutil.Process(process.pid).children() if child.environ().get("RANK") == "1"
    )
    victim.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"Error: Another process of this job ended, so this one cannot go on." in errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", b"is empty"),
        (b" \n\n", b"holds no text"),
        (b"Too short.", b"tokens beside the 2 held out are fewer than the 25"),
        (b"fine until \xff here", b"poem.txt: the byte 0xff at offset 11 is not valid UTF-8"),
    ],
    ids=["empty", "blank", "short", "not UTF-8"],
)
def test_a_bad_text_is_one_line_and_leaves_nothing(
    gpt2: Gpt2, poem: Path, tmp_path: Path, content: bytes, message: bytes
) -> None:
    poem.write_bytes(content)
    result = gpt2("train", poem, "-o", tmp_path / "a" / "b", *SHORT)
    assert result.returncode == 1
    assert result.stderr.startswith(b"Error: ")
    assert message in result.stderr
    assert result.stderr.count(b"\n") == 1
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.txt"], b"missing.txt: No such file"),
        (["--width", "10", "--heads", "3"], b"--width 10 is not a multiple of --heads 3"),
        (["--from", "x", "--layers", "2"], b"--layers shapes a new model"),
        (["--lora", "4"], b"--lora needs --from"),
        (["--resume"], b"holds no run to resume"),
        (["--resume", "--force"], b"Give one of them"),
        (["--vocab", "300", "--tokenizer", "gpt2"], b"Give one of them"),
    ],
    ids=str,
)
def test_a_wrong_option_is_one_line_and_leaves_nothing(
    gpt2: Gpt2, poem: Path, tmp_path: Path, arguments: list[str], message: bytes
) -> None:
    result = gpt2("train", poem, *arguments, "-o", tmp_path / "x")
    assert result.returncode == (1 if arguments == ["missing.txt"] else 2)
    assert message in result.stderr
    assert result.stderr.count(b"\n") == 1
    assert not (tmp_path / "x").exists()


def test_a_folder_with_something_in_it_is_left_alone(gpt2: Gpt2, poem: Path, tmp_path: Path) -> None:
    result = gpt2("train", poem, "-o", tmp_path)
    assert result.returncode == 2
    assert b"is not empty. Name another with --output, or --force" in result.stderr
    assert poem.read_text() == POEM


def test_a_folder_that_cannot_be_written_is_one_line(
    poem: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    result = run_limited(["train", str(poem), "-o", str(closed / "x")], environment, obey_permissions)
    assert result.returncode == 1
    assert b"closed/x cannot be written." in result.stderr
    assert result.stderr.count(b"\n") == 1


@pytest.mark.slow
def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing(
    poem: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    # Room for the ids and the tokenizer, not for the state.
    result = run_limited(
        ["train", "-q", str(poem), "-o", str(tmp_path / "x"), *SHORT],
        environment,
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert result.returncode == 1
    assert re.fullmatch(rb"Error: \S*state\.safetensors: File too large\.\n", result.stderr), result.stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_a_terminal_shows_a_bar_and_gets_its_cursor_back(
    poem: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    terminal = Terminal(100)
    process = subprocess.Popen(
        [*COMMAND, "train", "-o", str(tmp_path / "x"), *SHORT],
        env=environment | {"TERM": "xterm"},
        stdin=poem.open("rb"),
        stdout=subprocess.PIPE,
        stderr=terminal.slave,
    )
    shown = terminal.read_all()
    assert process.stdout is not None
    assert process.stdout.read() == os.fsencode(tmp_path / "x") + b"\n"
    process.stdout.close()
    assert process.wait(60) == 0
    assert re.search(rb"6/6.*tokens/s", shown)
    assert "▁".encode() in shown
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") > 0
