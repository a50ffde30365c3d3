"""How `gpt2 train` ends: by signals, closed terminals and limits, and what it leaves and says then."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import load_checkpoint
from conftest import COMMAND, Gpt2
from runs import POEM, losses
from terminal import Terminal
from test_cli_train import LONG, SHAPE, SHORT, evaluations, start, train, wait_for

ENDLESS = [*LONG, "--steps", "1000000"]


@pytest.fixture
def poem(tmp_path: Path) -> Path:
    path = tmp_path / "poem.txt"
    path.write_text(POEM)
    return path


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return environment | {"OMP_NUM_THREADS": "1"}


def settings_of(folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((folder / "resume" / "options.json").read_text())["settings"]
    return settings


def hear_hangups() -> None:
    """Have a process die of SIGHUP, even if the suite runs under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_saves_the_newest_weights_and_kills(
    poem: Path, tmp_path: Path, environment: dict[str, str], number: signal.Signals
) -> None:
    folder = tmp_path / "a run"
    with subprocess.Popen(
        [*COMMAND, "train", str(poem), "-o", str(folder), *ENDLESS],
        env=environment,
        stderr=subprocess.PIPE,
        preexec_fn=hear_hangups,
    ) as process:
        wait_for(process, b"step 12/")
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -number
    step = losses(folder)[-1][0]
    quoted = shlex.quote(str(folder))
    expected = f"Stopped after step {step}; resume with: gpt2 train --resume -o {quoted}\n"
    if step < 50:
        expected += f"{quoted} holds the weights after step {step}, which were not evaluated\n"
        assert (folder / "model.safetensors").read_bytes() == (folder / "last/model.safetensors").read_bytes()
        assert (
            f"stopped after step {step}, before its weights were evaluated"
            in (folder / "README.md").read_text()
        )
    assert errors.decode().endswith(expected)


@pytest.mark.slow
def test_a_closed_terminal_saves_and_kills(poem: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    folder = tmp_path / "x"
    terminal = Terminal(100)

    def take_terminal() -> None:
        hear_hangups()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [*COMMAND, "train", str(poem), "-o", str(folder), *ENDLESS],
        env=environment | {"TERM": "xterm"},
        stdin=terminal.slave,
        stdout=terminal.slave,
        stderr=terminal.slave,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(terminal.slave)
    shown = b""
    # The bar does not show every step.
    while not re.search(rb"\d\d/1000000", shown):
        shown += terminal.read()
    os.close(terminal.master)
    assert process.wait(60) == -signal.SIGHUP
    assert load_checkpoint(folder / "last").config.n_embd == 16
    assert losses(folder)[-1][0] >= 10


@pytest.mark.slow
def test_under_nohup_a_hangup_changes_nothing(
    poem: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    with subprocess.Popen(
        ["nohup", *COMMAND, "train", str(poem), "-o", str(tmp_path / "x"), *LONG, "--steps", "60"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        wait_for(process, b"step 12/")
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, os.fsencode(tmp_path / "x") + b"\n")


@pytest.mark.slow
def test_ctrl_c_saves_though_it_has_ended_the_reader_of_the_messages_too(
    poem: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    folder = tmp_path / "x"
    process = start([*COMMAND, "train", str(poem), "-o", str(folder), *ENDLESS], environment)
    wait_for(process, b"step 12/")
    assert process.stdout is not None
    assert process.stderr is not None
    process.send_signal(signal.SIGSTOP)
    process.stderr.close()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    assert process.wait(60) == -signal.SIGINT
    process.stdout.close()
    assert load_checkpoint(folder / "last").config.n_embd == 16


@pytest.mark.slow
def test_the_end_says_what_the_folder_holds_and_what_to_run(gpt2: Gpt2, poem: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my poet"
    result = gpt2("train", poem, "-o", folder, *SHORT, "--steps", "40")
    assert result.returncode == 0
    *_, holds, tip = result.stderr.decode().splitlines()
    best = min(evaluations(folder), key=lambda record: record["valid_loss"])
    quoted = shlex.quote(str(folder))
    assert (
        f"{quoted} holds the best weights, after step {best['step']}: loss {best['valid_loss']:.4f}" in holds
    )
    assert re.search(r"^About \d+ seconds for the other 37 steps$", result.stderr.decode(), re.MULTILINE)
    command = shlex.split(tip.removeprefix("Try it: "))
    assert command[:4] == ["gpt2", "generate", "-m", str(folder)]
    assert " ".join(command[4].split()) in " ".join(POEM.split())
    assert gpt2(*command[1:], "-n", "4").returncode == 0
    card = (folder / "README.md").read_text()
    assert "`poem.txt`: 1 document, 6,966 bytes" in card
    assert str(tmp_path) not in card
    assert f"after step {best['step']}. Their loss on the held-out text is {best['valid_loss']:.4f}" in card


@pytest.mark.slow
def test_epochs_are_passes_over_the_text_and_exclude_steps(gpt2: Gpt2, poem: Path, tmp_path: Path) -> None:
    train(poem, "-o", tmp_path / "x", *SHAPE, "--batch-tokens", 96, "--epochs", 0.5, "--threads", 1)
    settings = settings_of(tmp_path / "x")
    tokens = np.load(tmp_path / "x/resume/train.npy").size
    assert settings["steps"] == round(0.5 * tokens / 96)
    result = gpt2("train", poem, "-o", tmp_path / "y", "--epochs", "1", "--steps", "3")
    assert (result.returncode, result.stderr) == (
        2,
        b"Error: --epochs and --steps both set the length. Give one of them.\n",
    )
    for option in ("--epochs", "--minutes"):
        result = gpt2("train", poem, "-o", tmp_path / "y", option, "0")
        assert (result.returncode, result.stderr) == (
            2,
            f"Error: {option} must be above 0, not 0.0.\n".encode(),
        )


@pytest.mark.slow
def test_minutes_end_a_run_that_is_complete(gpt2: Gpt2, poem: Path, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    result = gpt2("train", poem, "-o", folder, *LONG, "--steps", "1000000", "--minutes", "0.02")
    assert (result.returncode, result.stdout) == (0, os.fsencode(folder) + b"\n")
    assert settings_of(folder)["evaluate_every"] == 50
    assert b"Ended after step " in result.stderr
    assert evaluations(folder)[-1]["step"] == losses(folder)[-1][0] < 1_000_000
    assert f"| steps | {losses(folder)[-1][0]:,} |" in (folder / "README.md").read_text()
    again = gpt2("train", "--resume", "-o", folder)
    assert (again.returncode, again.stdout) == (0, os.fsencode(folder) + b"\n")


@pytest.mark.slow
def test_a_card_that_somebody_edited_survives_a_new_run(poem: Path, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    train(poem, "-o", folder, *SHORT)
    card = folder / "README.md"
    train(poem, "-o", folder, *SHORT, "--force", "--seed", 1)
    assert "| seed | 1 |" in card.read_text()
    card.write_text("# Mine\n")
    train(poem, "-o", folder, *SHORT, "--force")
    assert card.read_text() == "# Mine\n"
