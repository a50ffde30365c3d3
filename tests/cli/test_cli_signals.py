"""Signals that end a command: nothing is left behind, and the process dies of the signal itself."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from checkpoints import save_model_folder
from conftest import COMMAND
from loopback_hub import LoopbackHub
from terminal import Terminal, start

from gpt2cli.checkpoint.whole_file import LEFT_SECONDS

pytestmark = pytest.mark.slow

ENDLESS = ["-n", "100000000", "--overflow", "slide", "--ignore-eos"]
ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals")
    save_model_folder(folder, n_positions=64)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder for an output file."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def wait_for_file(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has put a first file into a folder."""
    while not any(folder.iterdir()):
        assert process.poll() is None
        os.sched_yield()


COMMANDS = {
    "generate": ["generate", "hello", *ENDLESS],
    "score": ["score", "TEXT"],
    "tokenize": ["tokenize", "TEXT", "-"],
    "pieces": ["tokenize", "--json", "--pieces", "TEXT", "-"],
    "binary": ["tokenize", "--format", "u16", "TEXT", "-"],
}


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_a_signal_leaves_nothing_of_an_output_file(
    checkpoint: Path,
    environment: dict[str, str],
    tmp_path: Path,
    folder: Path,
    arguments: Sequence[str],
    number: signal.Signals,
) -> None:
    text = tmp_path / "text"
    text.write_text("Once upon a time\n" * 200_000)
    reader, writer = os.pipe()
    words = [str(text) if word == "TEXT" else word for word in arguments]
    process = start(
        [*words, "-m", str(checkpoint), "-o", str(folder / "out")],
        environment,
        stdin=reader,
        stderr=subprocess.PIPE,
    )
    wait_for_file(folder, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    os.close(reader)
    os.close(writer)
    assert process.returncode == -number
    assert list(folder.iterdir()) == []
    assert errors == b""


def test_the_next_run_removes_what_a_killed_one_left(environment: dict[str, str], folder: Path) -> None:
    output = ["-o", str(folder / "out.txt")]
    reader, writer = os.pipe()
    killed = start(["tokenize", "-", *output], environment, stdin=reader)
    wait_for_file(folder, killed)
    killed.kill()
    killed.wait(60)
    os.close(writer)
    os.close(reader)
    (left,) = folder.iterdir()
    running = folder / left.name.replace(str(killed.pid), str(os.getpid()))
    running.write_bytes(b"")
    long_ago = left.stat().st_mtime - 2 * LEFT_SECONDS
    for file in (left, running):
        os.utime(file, (long_ago, long_ago))
    assert start(["tokenize", "--text", "One", *output], environment).wait(60) == 0
    assert sorted(folder.iterdir()) == [running, folder / "out.txt"]


STRUCK = """
import os, signal, sys

class Strike:
    @staticmethod
    def find_spec(name, *_):
        if name == os.environ["STRIKE_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Strike)
from gpt2cli.__main__ import main
sys.argv[0] = "gpt2"
main()
"""


@pytest.mark.parametrize("module", ["gc", "typer", "gpt2cli.cli.commands.generate", "numpy", "numpy.linalg"])
def test_ctrl_c_during_any_import_dies_quietly(
    checkpoint: Path, environment: dict[str, str], module: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STRUCK, "generate", "hello", "-m", str(checkpoint), "-n", "2"],
        env=environment | {"STRIKE_AT": module},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


@pytest.mark.slow
def test_timeout_leaves_nothing_of_an_output_file(
    checkpoint: Path, environment: dict[str, str], folder: Path
) -> None:
    command = ["generate", "hello", "-m", str(checkpoint), *ENDLESS, "-o", str(folder / "out.txt")]
    done = subprocess.run(
        ["timeout", "--preserve-status", "3", *COMMAND, *command], env=environment, check=False, timeout=60
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert list(folder.iterdir()) == []


def test_under_nohup_a_closed_terminal_ends_nothing(environment: dict[str, str], folder: Path) -> None:
    reader, writer = os.pipe()
    process = subprocess.Popen(
        ["nohup", *COMMAND, "tokenize", "--count", "-o", str(folder / "out.txt"), "-"],
        env=environment,
        stdin=reader,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(reader)
    wait_for_file(folder, process)
    process.send_signal(signal.SIGHUP)
    os.write(writer, b"hello")
    os.close(writer)
    assert process.wait(60) == 0
    assert (folder / "out.txt").read_bytes() == b"1 -\n"


def test_a_signal_that_comes_twice_leaves_nothing(
    checkpoint: Path, environment: dict[str, str], folder: Path
) -> None:
    process = start(
        ["generate", "hello", "-m", str(checkpoint), *ENDLESS, "-o", str(folder / "out.txt")], environment
    )
    wait_for_file(folder, process)
    # The kernel and the shell both send it when a terminal closes.
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == -signal.SIGHUP
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_shows_the_cursor_that_a_spinner_hid(
    environment: dict[str, str], number: signal.Signals
) -> None:
    code = (
        "import sys; from gpt2cli.cli.output import messages; messages.SPINNER_DELAY = 0.0\n"
        "with messages.Messages().working('Loading'): sys.stdin.read()"
    )
    reader, writer = os.pipe()
    terminal = Terminal()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment | {"TERM": "xterm"},
        stdin=reader,
        stderr=terminal.slave,
    )
    shown = b""
    while b"Loading" not in shown and (data := terminal.read()):
        shown += data
    process.send_signal(number)
    assert process.wait(60) == -number
    shown += terminal.read_all()
    os.close(reader)
    os.close(writer)
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") == 1
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"Loading")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_a_download_shows_the_cursor_and_keeps_what_came(
    checkpoint: Path, environment: dict[str, str], number: signal.Signals
) -> None:
    terminal = Terminal()
    with LoopbackHub() as hub:
        hub.add("acme/tiny", checkpoint)
        hub.stall("model.safetensors", after=5000)
        process = start(
            ["download", "acme/tiny"],
            environment | {"HF_ENDPOINT": hub.url, "TERM": "xterm"},
            stderr=terminal.slave,
            stdout=subprocess.DEVNULL,
        )
        assert hub.stalled.wait(60)
        while not list(Path(environment["HF_HOME"]).rglob("*.incomplete")):
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(60) == -number
    shown = terminal.read_all()
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") == 1
    assert list(Path(environment["HF_HOME"]).rglob("*.incomplete"))


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_the_style_of_a_terminal(environment: dict[str, str], number: signal.Signals) -> None:
    reader, writer = os.pipe()
    terminal = Terminal()
    process = start(
        ["tokenize", "--view", "--color", "always", "-"],
        environment | {"TERM": "xterm"},
        stdin=reader,
        stdout=terminal.slave,
        stderr=subprocess.PIPE,
    )
    os.write(writer, b"Once upon a time\n" * 5000)
    shown = b""
    while b"\x1b[38" not in shown and (data := terminal.read()):
        shown += data
    process.send_signal(number)
    shown += terminal.read_all()
    _, errors = process.communicate(timeout=60)
    os.close(reader)
    os.close(writer)
    assert (process.returncode, errors) == (-number, b"")
    assert shown.rstrip(b"\r\n").endswith(b"\x1b[0m")


@pytest.mark.slow
def test_a_signal_on_a_stopped_terminal_ends_the_process(environment: dict[str, str], tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("Once upon a time\n" * 20_000)
    terminal = Terminal()
    process = start(
        ["tokenize", "--view", "--color", "always", str(text)],
        environment | {"TERM": "xterm"},
        stdout=terminal.slave,
    )
    # Nobody reads the terminal, as after Ctrl-S, so that the process soon waits for room in it.
    select.select([terminal.master], [], [])
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
        os.sched_yield()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == -signal.SIGTERM
    terminal.read_all()
