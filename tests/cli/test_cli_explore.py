"""`gpt2 explore` on a pseudo-terminal: keys, resizing, files, and the terminal afterwards."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest
from checkpoints import save_model_folder
from conftest import COMMAND, Gpt2, hidden
from terminal import ESCAPE, Terminal

pytest.importorskip("prompt_toolkit")
pytestmark = pytest.mark.slow

PROMPT = "Once upon a test"
LEFT, RIGHT, DOWN, ENTER = "\x1b[D", "\x1b[C", "\x1b[B", "\r"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explore")
    save_model_folder(folder)
    return folder


class Session:
    """A command on a terminal of its own."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.terminal = Terminal(80)
        self.attributes = termios.tcgetattr(self.terminal.slave)
        self.seen = b""

        def own_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        slave = self.terminal.slave
        self.process = subprocess.Popen(
            [*COMMAND, "explore", *arguments],
            env={name: value for name, value in environment.items() if name != "COLUMNS"} | {"TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=own_terminal,
        )

    def read_until(self, *texts: str) -> None:
        """Read what is drawn until all of some texts were, since the last time."""
        shown = ""
        while not all(text in ESCAPE.sub("", shown) for text in texts):
            data = self.terminal.read()
            assert data, self.seen
            self.seen += data
            shown += data.decode("utf-8", "replace")

    def press(self, *keys: str) -> None:
        os.write(self.terminal.master, "".join(keys).encode())

    def save(self, path: Path) -> dict[str, Any]:
        """Save the tree and return what the file holds."""
        path.unlink(missing_ok=True)
        # What stands in the line is replaced.
        self.press("s", "\x05\x15", str(path), ENTER)
        while not path.exists():
            data = self.terminal.read()
            assert data, self.seen
            self.seen += data
        saved: dict[str, Any] = json.loads(path.read_text())
        return saved

    def end(self) -> int:
        """Read to the end and return the exit code; the terminal must be as it was."""
        slave = os.dup(self.terminal.slave)
        code = self.process.wait(60)
        assert termios.tcgetattr(slave) == self.attributes
        os.close(slave)
        self.seen += self.terminal.read_all()
        return code


@pytest.fixture
def session(folder: Path, environment: dict[str, str]) -> Session:
    return Session([PROMPT, "-m", str(folder), "--temperature", "1.2", "--top-p", "1"], environment)


def text_of(saved: dict[str, Any]) -> list[str]:
    """Return the tokens in view."""
    return [saved["nodes"][node - 1]["text"] for node in saved["path"]]


def test_keys_write_move_branch_undo_save_and_open(session: Session, tmp_path: Path) -> None:
    session.read_until(PROMPT, "temperature 1.2", "Enter take")
    begun = session.save(tmp_path / "0.json")
    count = begun["place"]
    assert "".join(text_of(begun)) == PROMPT
    session.press(" ", " ", ENTER)
    written = session.save(tmp_path / "1.json")
    assert (written["place"], written["draws"], len(written["nodes"])) == (count + 3, 2, count + 3)
    # Two to the left, the third alternative from the one in view: a branch.
    session.press(LEFT, LEFT, DOWN, ENTER)
    branched = session.save(tmp_path / "2.json")
    assert (branched["place"], len(branched["path"]), len(branched["nodes"])) == (
        count + 2,
        count + 2,
        count + 4,
    )
    session.press(LEFT, "\t")
    assert text_of(session.save(tmp_path / "3.json")) == text_of(written)
    session.press("u")
    undone = session.save(tmp_path / "4.json")
    assert (undone["nodes"], undone["path"]) == (written["nodes"], written["path"])
    session.press("TTp")
    changed = session.save(tmp_path / "5.json")
    assert (changed["temperature"], changed["top_p"]) == (1.4, 0.95)
    session.press("w", " of mine", ENTER)
    assert "".join(text_of(session.save(tmp_path / "6.json"))).endswith(" of mine")
    session.press("o", "\x05\x15", str(tmp_path / "0.json"), ENTER)
    opened = session.save(tmp_path / "7.json")
    assert (opened["nodes"], opened["place"]) == (begun["nodes"], count)
    session.press("q")
    assert session.end() == 0


def test_it_goes_on_after_the_terminal_was_resized(session: Session, tmp_path: Path) -> None:
    session.read_until(PROMPT, "Enter take")
    for rows, columns in ((8, 30), (3, 12), (40, 132)):
        fcntl.ioctl(session.terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        before = len(session.save(tmp_path / "tree.json")["nodes"])
        session.press("g")
        session.press(" ")
        assert len(session.save(tmp_path / "tree.json")["nodes"]) > before
    session.press("q")
    assert session.end() == 0


def test_what_is_not_saved_is_not_lost_by_one_key(session: Session, tmp_path: Path) -> None:
    session.read_until(PROMPT, "Enter take")
    session.press(" ", "q", "u", "q")
    assert session.save(tmp_path / "tree.json")["place"] > 0
    session.press(" ", "q", "q")
    assert session.end() == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)]
)
def test_a_signal_leaves_the_terminal_as_it_was(session: Session, number: int, code: int) -> None:
    session.read_until(PROMPT, "Enter take")
    session.process.send_signal(number)
    assert session.end() == code
    assert b"\x1b[?1049h" in session.seen
    assert session.seen.rstrip().endswith(b"\x1b[?1049l\x1b[?25h\x1b[0m")


def test_ctrl_c_leaves_the_terminal_as_it_was(session: Session) -> None:
    session.read_until(PROMPT, "Enter take")
    session.press("\x03")
    assert session.end() == -signal.SIGINT
    assert b"\x1b[?1049l" in session.seen


def test_a_missing_file_is_told_before_anything_is_drawn(folder: Path, environment: dict[str, str]) -> None:
    started = Session(["--open", "none.json", "-m", str(folder)], environment)
    assert started.end() == 1
    assert started.seen.endswith(b"Error: none.json: No such file or directory.\r\n")
    assert b"\x1b[?1049h" not in started.seen


def test_without_a_terminal_it_is_refused(gpt2: Gpt2, folder: Path) -> None:
    done = gpt2("explore", "Once", "-m", folder)
    assert done.returncode == 2
    assert (
        done.stderr == b"Error: explore draws on a terminal and reads keys from it. For text, use generate.\n"
    )


def test_without_its_package_it_says_what_to_install(
    folder: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    variables = environment | hidden(tmp_path / "without", "prompt_toolkit")
    started = Session(["Once", "-m", str(folder)], variables)
    assert started.end() == 1
    assert b"pip install 'gpt2cli[explore]'" in started.seen
