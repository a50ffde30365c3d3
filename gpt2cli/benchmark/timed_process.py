"""A command run as a separate process, with its wall-clock time and its peak memory."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gpt2cli.checkpoint.ending_signals import undone_if_killed
from gpt2cli.errors import Error

LAUNCHER = Path(__file__).with_name("launcher.py")
# The beginning of the last line of a traceback, and of the errors of command-line tools.
_EXCEPTION = re.compile(r"[\w.]*(Error|Exception): ")


@dataclass(frozen=True)
class Finished:
    """What a process wrote to stdout, its wall-clock seconds and its peak resident size in bytes."""

    output: bytes
    seconds: float
    peak_bytes: int


def run_timed(command: Sequence[str], environment: Mapping[str, str]) -> Finished:
    """Run a command to its end, and kill it on an interrupt.

    Raises:
        Error: the command failed; the message is the last line of its stderr.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        report = json.loads(_launch(command, environment, output, errors) or b'{"status": 127}')
        output.seek(0)
        errors.seek(0)
        if report["status"]:
            raise Error(_reason(report["status"], errors.read().decode(errors="replace")))
        return Finished(output.read(), report["seconds"], report["peak_bytes"])


def _launch(
    command: Sequence[str], environment: Mapping[str, str], output: IO[bytes], errors: IO[bytes]
) -> bytes:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as report:
        try:
            process = subprocess.Popen(
                # It starts in a few milliseconds without site-packages.
                [sys.executable, "-I", "-S", str(LAUNCHER), str(writer), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=environment,
                pass_fds=[writer],
                # A process group can be killed together with all that the command has started.
                start_new_session=True,
            )
        finally:
            os.close(writer)

        def kill() -> None:
            os.killpg(process.pid, signal.SIGKILL)

        try:
            with undone_if_killed(kill):
                written = report.read()
                process.wait()
        except BaseException:
            kill()
            process.wait()
            raise
    return written


def _reason(status: int, errors: str) -> str:
    if status < 0:
        return f"its process died of signal {-status}."
    lines = [line for line in errors.splitlines() if line.strip()] or ["its process failed silently."]
    return _EXCEPTION.sub("", lines[-1].strip(), count=1)
