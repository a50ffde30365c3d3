"""`gpt2` with real pipes, signals and terminals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkpoints import save_model_folder
from conftest import COMMAND, Gpt2
from terminal import ESCAPE, Terminal, show, start

from gpt2cli.text.printable import visible

pytestmark = pytest.mark.slow

ENDLESS = ["-n", "100000000", "--overflow", "slide", "--ignore-eos"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminal")
    save_model_folder(folder, n_positions=64)
    return folder


def test_tokens_arrive_as_they_are_made_and_a_closed_pipe_ends_the_work(
    checkpoint: Path, environment: dict[str, str]
) -> None:
    process = start(
        ["generate", "hello", "-m", str(checkpoint), *ENDLESS],
        environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    # There is no end, so these bytes came while the work was going on.
    assert len(process.stdout.read(50)) == 50
    process.stdout.close()
    assert process.wait(30) == -signal.SIGPIPE
    assert process.stderr.read() == b""
    process.stderr.close()


def test_head_in_a_pipeline_ends_with_status_141(checkpoint: Path, environment: dict[str, str]) -> None:
    line = (
        f'"$@" generate hello -m {checkpoint} {" ".join(ENDLESS)} | head -c 20 >&2; echo ${{PIPESTATUS[0]}}'
    )
    result = subprocess.run(
        ["bash", "-c", line, "bash", *COMMAND], env=environment, capture_output=True, timeout=60, check=True
    )
    assert result.stdout == b"141\n"
    assert len(result.stderr) == 20


def test_help_into_a_closed_pipe_says_nothing(environment: dict[str, str]) -> None:
    line = '"$@" generate --help | true; echo ${PIPESTATUS[0]}'
    result = subprocess.run(
        ["bash", "-c", line, "bash", *COMMAND], env=environment, capture_output=True, timeout=60, check=True
    )
    assert result.stdout in (b"141\n", b"0\n")
    assert result.stderr == b""


def test_ctrl_c_ends_a_shell_loop(checkpoint: Path, environment: dict[str, str]) -> None:
    loop = f'for n in 1 2 3; do "$@" generate hello -m {checkpoint} {" ".join(ENDLESS)}; echo survived; done'
    shell = subprocess.Popen(
        ["bash", "-c", loop, "bash", *COMMAND],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert shell.stdout is not None
    assert shell.stderr is not None
    assert shell.stdout.read(20)
    os.killpg(shell.pid, signal.SIGINT)
    rest, errors = shell.communicate(timeout=30)
    assert shell.returncode == -signal.SIGINT
    assert b"survived" not in rest
    assert errors == b""


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1, 0.2, 0.3, 0.4])
def test_ctrl_c_at_any_moment_of_the_start_dies_quietly(
    checkpoint: Path, environment: dict[str, str], delay: float
) -> None:
    process = start(
        ["generate", "hello", "-m", str(checkpoint), *ENDLESS],
        {**environment, "PYTHONPROFILEIMPORTTIME": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    # The interpreter's own start belongs to Python, which swallows what comes while it reads .pth files.
    for line in process.stderr:
        if line.endswith(b" gpt2cli.cli\n"):
            break
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    errors = process.stderr.read()
    assert process.wait(timeout=30) == -signal.SIGINT
    assert [line for line in errors.splitlines() if not line.startswith(b"import time:")] == []


def test_a_prompt_leaves_an_open_stdin_alone(checkpoint: Path, environment: dict[str, str]) -> None:
    reader, writer = os.pipe()
    process = start(
        ["generate", "hello", "-m", str(checkpoint), "-n", "3"],
        environment,
        stdin=reader,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _, errors = process.communicate(timeout=60)
    os.close(reader)
    os.close(writer)
    assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize(
    ("redirection", "code", "message"),
    [
        ("<&-", 0, b""),
        (">&-", 1, b"standard output is closed"),
        ("> /dev/full", 1, b"No space left on device"),
        ("2>&-", 0, b""),
    ],
)
def test_closed_and_full_streams_are_no_traceback(
    checkpoint: Path, environment: dict[str, str], redirection: str, code: int, message: bytes
) -> None:
    line = f'"$@" generate hello -m {checkpoint} -n 3 {redirection}'
    result = subprocess.run(
        ["bash", "-c", line, "bash", *COMMAND], env=environment, capture_output=True, timeout=60, check=False
    )
    assert result.returncode == code
    assert message in result.stderr
    assert result.stderr.count(b"\n") == bool(message)


def test_a_closed_stdin_without_a_prompt_is_one_line(gpt2: Gpt2, environment: dict[str, str]) -> None:
    result = subprocess.run(
        ["bash", "-c", '"$@" generate <&-', "bash", *COMMAND],
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert result.returncode in (1, 2)
    assert result.stderr.startswith(b"Error: ")
    assert result.stderr.count(b"\n") == 1


def test_nothing_to_read_on_a_terminal_is_an_error_and_no_hang(environment: dict[str, str]) -> None:
    terminal = Terminal()
    process = start(["generate"], environment, stdin=terminal.slave, stderr=subprocess.PIPE)
    _, errors = process.communicate(timeout=30)
    terminal.read_all()
    assert process.returncode == 2
    assert errors.count(b"\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("columns", [20, 40, 80])
def test_a_terminal_shows_the_text_of_a_pipe_but_for_line_breaks_and_controls(
    gpt2: Gpt2, checkpoint: Path, environment: dict[str, str], columns: int
) -> None:
    arguments = ["generate", "hello you", "-m", str(checkpoint), "-n", "60", "--seed", "1", "--echo"]
    piped = gpt2(*arguments).stdout.decode()
    shown = show(arguments, environment | {"NO_COLOR": "1"}, columns)
    assert "\x1b" not in shown
    assert "".join(shown.split()).startswith("helloyou")
    assert "".join(shown.split()) == "".join(visible(piped).split())


@pytest.mark.slow
@pytest.mark.parametrize("columns", [20, 40, 80])
def test_a_terminal_breaks_generated_text_between_words(
    gpt2: Gpt2, environment: dict[str, str], columns: int
) -> None:
    sampling = ["-n", "100", "--seed", "3", "--num-samples", "2"]
    arguments = ["generate", "Once upon a time", "-m", "stories", *sampling, "--echo"]
    piped = gpt2(*arguments).stdout.decode()
    shown = show(arguments, environment, columns)
    assert "\x1b[1mOnce upon a time\x1b[0m" in shown.replace("\r\n", " ")
    lines = ESCAPE.sub("", shown).splitlines()
    assert max(map(len, lines)) <= columns
    # All of it, since no word of this model is as wide as 20 columns.
    assert " ".join(lines).split() == piped.split()


def start_spinner(environment: dict[str, str], terminal: Terminal, delay: float) -> subprocess.Popen[bytes]:
    """Start work that goes on until its standard input ends, and then prints which modules it loaded."""
    code = (
        "import sys; from gpt2cli.cli.output import messages; messages.SPINNER_DELAY = float(sys.argv[1])\n"
        "with messages.Messages().working('Loading'): sys.stdin.read()\n"
        "print(*sys.modules)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(delay)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=terminal.slave,
    )


def test_work_that_goes_on_shows_a_spinner_on_a_terminals_stderr_alone(environment: dict[str, str]) -> None:
    terminal = Terminal()
    process = start_spinner(environment, terminal, delay=0.0)
    shown = b""
    while b"Loading" not in shown and (data := terminal.read()):
        shown += data
    modules, _ = process.communicate(timeout=60)
    shown += terminal.read_all()
    assert b"Loading" in shown
    assert b"\x1b" not in modules
    # The cursor that was hidden is shown again.
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") == 1


def test_work_that_ends_soon_shows_no_spinner_and_loads_nothing_for_it(environment: dict[str, str]) -> None:
    terminal = Terminal()
    modules, _ = start_spinner(environment, terminal, delay=3600.0).communicate(timeout=60)
    assert b"rich" not in modules.split()
    assert terminal.read_all() == b""


def test_quiet_shows_nothing_on_a_terminals_stderr(checkpoint: Path, environment: dict[str, str]) -> None:
    terminal = Terminal()
    process = start(
        ["generate", "hello", "-m", str(checkpoint), "-n", "3", "-q"],
        environment,
        stdout=subprocess.DEVNULL,
        stderr=terminal.slave,
    )
    assert process.wait(60) == 0
    assert terminal.read_all() == b""


@pytest.mark.slow
@pytest.mark.parametrize("columns", [20, 80, 200])
def test_help_fits_narrow_and_wide_terminals(environment: dict[str, str], columns: int) -> None:
    del environment["COLUMNS"]
    terminal = Terminal(columns)
    process = start(["generate", "--help"], environment, stdout=terminal.slave, stderr=subprocess.PIPE)
    shown = terminal.read_all()
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, b"")
    lines = ESCAPE.sub("", shown.decode()).splitlines()
    assert max(map(len, lines)) <= columns
    assert "Usage:" in "".join(lines)


def test_no_color_means_no_escape_on_a_terminal(environment: dict[str, str]) -> None:
    terminal = Terminal()
    process = start(
        ["--help"], environment | {"NO_COLOR": "1"}, stdout=terminal.slave, stderr=subprocess.DEVNULL
    )
    shown = terminal.read_all()
    assert process.wait(30) == 0
    assert not re.search(rb"\x1b\[(3|4|9)\d", shown)


def test_a_usage_error_is_one_line_of_any_width(environment: dict[str, str]) -> None:
    result = subprocess.run(
        [*COMMAND, "generate", "--top-k", "many"],
        env=environment | {"COLUMNS": "20"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith(b"Error: Invalid value for '--top-k'")
    assert result.stderr.count(b"\n") == 1


def test_python_dash_m_is_the_same_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gpt2cli", "--version"], capture_output=True, timeout=60, check=True
    )
    assert re.fullmatch(rb"gpt2cli \d+\.\d+\.\d+\n", result.stdout)
