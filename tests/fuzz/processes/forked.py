"""Commands in forked processes, with real streams and signals, but without the start of Python."""

from __future__ import annotations

import atexit
import gc
import io
import os
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

# Of processor time, of waiting for a command, and of preparing for many, which is no attempt.
MOST_SECONDS = 20.0
MOST_WAITING = 120.0
MOST_PREPARING = 1200.0


class Ended(NamedTuple):
    """How a process ended: its exit code, or a signal's negative number, and what it wrote."""

    code: int
    output: bytes
    errors: bytes


def load_the_commands() -> None:
    """Import what commands need on a CPU, so that forked ones need not."""
    from importlib import import_module

    from gpt2cli.cli.command_table import COMMANDS, module_of

    for name in COMMANDS:
        import_module(module_of(name))
    for name in (
        "numpy",
        "rich.console",
        "tokenizers",
        "gpt2cli.text.loading",
        "gpt2cli.generation.continuation",
    ):
        import_module(name)


def run_command(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    stdin: bytes = b"",
    before: Callable[[], object] | None = None,
) -> Ended:
    """Run a command line in a folder, and return what it writes."""
    pipes = [os.pipe(), os.pipe()]
    with (folder / ".stdin").open("w+b") as file:
        file.write(stdin)
        file.seek(0)
        process = start(
            arguments, folder, environment, [file.fileno(), *(writer for _, writer in pipes)], before
        )
    for _, writer in pipes:
        os.close(writer)
    output, errors = _read_all([reader for reader, _ in pipes], process)
    return Ended(wait(process), output, errors)


def _read_all(readers: Sequence[int], process: int) -> list[bytes]:
    """Return what comes out of pipes until they are closed; a process that does not end is killed."""
    data = dict.fromkeys(readers, b"")
    still = set(readers)
    while still:
        ready, _, _ = select.select(still, [], [], MOST_WAITING)
        if not ready:
            os.kill(process, signal.SIGKILL)
        for reader in ready:
            piece = os.read(reader, 1 << 20)
            data[reader] += piece
            if not piece:
                os.close(reader)
                still.remove(reader)
    return [data[reader] for reader in readers]


def start(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    streams: Sequence[int],
    before: Callable[[], object] | None = None,
) -> int:
    """Start a command line in a folder with these streams, and return its process, which calls `before`."""
    # None arrives before the process is that of a command.
    kept = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    process = os.fork()
    if not process:
        _become(arguments, folder, environment, streams, before)
    signal.pthread_sigmask(signal.SIG_SETMASK, kept)
    return process


def call(function: Callable[[], object]) -> None:
    """Call a function in another process, which ends with whatever the function imports.

    Raises:
        AssertionError: it failed.
    """
    process = os.fork()
    if not process:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    assert wait(process, MOST_PREPARING) == 0


def wait(process: int, seconds: float = MOST_WAITING) -> int:
    """Return a process's exit code, or a signal's negative number; a process that does not end is killed."""
    descriptor = os.pidfd_open(process)
    if not select.select([descriptor], [], [], seconds)[0]:
        os.kill(process, signal.SIGKILL)
    os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _become(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    streams: Sequence[int],
    before: Callable[[], object] | None,
) -> NoReturn:
    """Turn this process into that of a command."""
    code: object = 1
    try:
        try:
            _dress(folder, environment, streams)
            sys.argv = ["gpt2", *arguments]
            if before:
                before()
            from gpt2cli.__main__ import main

            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            main()
        except SystemExit as error:
            code = error.code or 0
        except BaseException:
            traceback.print_exc()
        atexit._run_exitfuncs()
        sys.stdout.flush()
    finally:
        # Whatever happens, nothing of the process that it was forked from may run in this one.
        os._exit(code if isinstance(code, int) else 1)


def _dress(folder: Path, environment: Mapping[str, str], streams: Sequence[int]) -> None:
    """Give this process the streams, the folder and the settings of one that Python has just started."""
    atexit._clear()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin, sys.stdout, sys.stderr = _text(0, "r"), _text(1, "w"), _text(2, "w", "backslashreplace")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    warnings.resetwarnings()
    gc.freeze()


def _text(number: int, mode: str, errors: str = "strict") -> io.TextIOWrapper:
    stream = os.fdopen(number, mode, encoding="utf-8", errors=errors, closefd=False)
    assert isinstance(stream, io.TextIOWrapper)
    if stream.isatty() or number == 2:
        stream.reconfigure(line_buffering=True)
    return stream
