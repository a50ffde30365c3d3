"""Commands on a pseudo-terminal, and what it must not be told."""

from __future__ import annotations

import os
import pty
import re
import select
import termios
import tty
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fuzz.processes import forked

# Colours and the like, a cursor that is hidden and shown, lines that are erased and drawn again.
OWN = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|[0-2]?K|[0-9]*[ABCDG])")
# Blinking, which nothing of ours does.
BLINKS = re.compile(r"\x1b\[(?:[0-9;]*;)?5(?:;[0-9;]*)?m(?<!38;5m)")
COLOR = re.compile(r"\x1b\[([0-9;]*)m")
UNSAFE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def run_on_terminal(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    act: Callable[[int], object] = lambda process: None,
) -> tuple[int, bytes]:
    """Run a command with a terminal for what it writes, and nothing to read; return its exit code and that.

    `act` is called with the process once it runs.
    """
    master, slave = pty.openpty()
    # What is written arrives as it is.
    tty.setraw(slave, termios.TCSANOW)
    nothing = os.open(os.devnull, os.O_RDONLY)
    process = forked.start(arguments, folder, environment, [nothing, slave, slave])
    os.close(nothing)
    os.close(slave)
    act(process)
    shown = b""
    while select.select([master], [], [], forked.MOST_WAITING)[0]:
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        shown += data
    os.close(master)
    return forked.wait(process), shown


def fault_on_screen(shown: bytes) -> str:
    """Return what a terminal obeyed that was not ours, or nothing."""
    text = shown.decode("utf-8", "replace")
    if BLINKS.search(text):
        return f"a colour that is not ours: {text[-300:]!r}"
    if found := UNSAFE.search(OWN.sub("", text)):
        return (
            f"{found[0]!r} reached the terminal: {OWN.sub('', text)[max(0, found.start() - 100) :][:300]!r}"
        )
    return ""


def fault_left_behind(shown: bytes) -> str:
    """Return in what state a terminal was left, if not as it was found."""
    text = shown.decode("utf-8", "replace")
    if text.rfind("\x1b[?25l") > text.rfind("\x1b[?25h"):
        return "the cursor stays hidden"
    colors = COLOR.findall(text)
    if colors and colors[-1] not in ("", "0"):
        return f"a colour stays: {text[-200:]!r}"
    return ""
