"""A pseudo-terminal and the output of commands on it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence

from conftest import COMMAND

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A pseudo-terminal of a given width, with what was written to it."""

    def __init__(self, columns: int = 80) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self, seconds: float = 30.0) -> bytes:
        """Return the next bytes, or none when nothing comes any more."""
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return b""
        try:
            return os.read(self.master, 65536)
        except OSError:
            return b""

    def read_all(self) -> bytes:
        """Return all bytes until the last writer is gone."""
        os.close(self.slave)
        seen = b""
        while data := self.read():
            seen += data
        os.close(self.master)
        return seen


def start(
    arguments: Sequence[str], environment: Mapping[str, str], **streams: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        stdin=streams.get("stdin", subprocess.DEVNULL),
        stdout=streams.get("stdout"),
        stderr=streams.get("stderr"),
    )


def show(arguments: Sequence[str], environment: Mapping[str, str], columns: int) -> str:
    """Return what a command that succeeds writes to a terminal of a given width."""
    terminal = Terminal(columns)
    width = {name: value for name, value in environment.items() if name != "COLUMNS"}
    process = start(arguments, width, stdout=terminal.slave, stderr=subprocess.DEVNULL)
    shown = terminal.read_all()
    assert process.wait(30) == 0
    return shown.decode()
