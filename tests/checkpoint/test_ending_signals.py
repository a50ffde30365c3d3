"""Signals that end the process: what must be undone first, in processes that die of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gpt2cli.checkpoint.ending_signals import undone_if_killed
from gpt2cli.checkpoint.whole_file import whole_file

ENDING = [signal.SIGTERM, signal.SIGHUP]
BEGIN = """
import os, signal, sys, threading
from functools import partial
from pathlib import Path
from gpt2cli.checkpoint.ending_signals import undone_if_killed
from gpt2cli.checkpoint.whole_file import removed_unless_renamed, whole_file
path, number = Path(sys.argv[1]), int(sys.argv[2])
kill = partial(os.kill, os.getpid(), number)
say = partial(os.write, 1)
"""


def run(code: str, path: Path, number: signal.Signals) -> tuple[int, str]:
    """Return how a program of the path and the signal ended, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code, path, str(int(number))], stdout=subprocess.PIPE, check=False
    )
    return done.returncode, done.stdout.decode()


@pytest.mark.parametrize("number", ENDING)
def test_a_file_that_a_signal_cuts_off_is_not_left(tmp_path: Path, number: signal.Signals) -> None:
    code = "with whole_file(path) as file: say(b'%d' % len(os.listdir(path.parent))); kill()"
    assert run(code, tmp_path / "file", number) == (-number, "1")
    assert list(tmp_path.iterdir()) == []


def test_a_whole_file_that_has_not_its_final_name_is_not_left(tmp_path: Path) -> None:
    code = """
with removed_unless_renamed(path) as own:
    with whole_file(own): pass
    say(b"%d" % len(os.listdir(path.parent)))
    kill()
"""
    assert run(code, tmp_path / "file", signal.SIGTERM) == (-signal.SIGTERM, "1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", ENDING)
def test_all_that_is_open_is_undone_the_newest_first(tmp_path: Path, number: signal.Signals) -> None:
    code = """
def fail(): raise OSError
with undone_if_killed(partial(say, b"first")), undone_if_killed(fail):
    with undone_if_killed(partial(say, b"over")): pass
    with undone_if_killed(partial(say, b"second ")): kill()
"""
    assert run(code, tmp_path, number) == (-number, "second first")


def test_a_signal_that_is_ignored_or_handled_stays_so(tmp_path: Path) -> None:
    code = """
signal.signal(number, signal.SIG_IGN)
with undone_if_killed(partial(say, b"undone")): kill()
signal.signal(number, lambda *_: say(b"handled "))
with undone_if_killed(partial(say, b"undone")): kill()
say(b"alive")
"""
    assert run(code, tmp_path, signal.SIGHUP) == (0, "handled alive")


def test_work_on_another_thread_is_undone_if_the_main_thread_handles_signals(tmp_path: Path) -> None:
    code = """
def work():
    with whole_file(path): kill()
with undone_if_killed(partial(say, b"main")):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    signal.pause()
"""
    status, shown = run(code, tmp_path / "file", signal.SIGTERM)
    assert (status, shown) == (-signal.SIGTERM, "main")
    assert not list(tmp_path.glob(".*"))


def test_after_the_block_signals_are_what_they_were(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in ENDING]
    with undone_if_killed(lambda: None), whole_file(tmp_path / "file"):
        assert [signal.getsignal(number) for number in ENDING] != before
    assert [signal.getsignal(number) for number in ENDING] == before
