"""Signals at random moments: a command dies of them, says nothing, and leaves nothing behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from fuzz.processes import forked, sandbox
from fuzz.processes.screen import fault_left_behind, run_on_terminal
from fuzz.search import Outcome
from fuzz.verdict import fault_of_line

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
GENERATE = (
    "generate",
    "Once upon",
    "-m",
    "tiny",
    "-s",
    "1",
    "-n",
    "3000",
    "--overflow",
    "slide",
    "--ignore-eos",
)
COMMANDS: tuple[tuple[str, ...], ...] = (
    GENERATE,
    (*GENERATE, "-o", "out/a.txt"),
    (*GENERATE, "--quantize", "int8", "-n", "30"),
    ("score", "long.txt", "-m", "tiny", "-o", "out/a.json"),
    ("score", "text.txt", "-m", "tiny", "--view"),
    ("tokenize", "long.txt", "-m", "tiny", "--format", "u16", "-o", "out/a.u16"),
    ("tokenize", "text.txt", "-m", "tiny", "--view"),
    ("next", "Once", "-m", "tiny.gguf"),
    ("rank", "text.txt", "-m", "tiny", "-o", "out/a.jsonl"),
    ("export", "tiny", "-o", "out/folder"),
    ("models", "list"),
    ("info",),
)


class Signals:
    """A signal, or two, to a command that has run for a random time."""

    name = "signals"

    def prepare(self, folder: Path) -> None:
        """Make the folder that the commands run in, and learn how long each takes."""
        self._folder = folder / "a"
        self._folder.mkdir()
        forked.call(lambda: sandbox.make_sandbox(self._folder))
        forked.load_the_commands()
        (self._folder / "out").mkdir()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # A shell starts a job in the background with some of them ignored, and commands would inherit that.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._whole: dict[tuple[str, ...], dict[str, bytes]] = {}
        self._seconds: dict[tuple[tuple[str, ...], bool], float] = {}
        for command in COMMANDS:
            for is_forked in (True, False):
                self._clear()
                begin = time.monotonic()
                code, errors = self._run(command, is_forked, [])
                self._seconds[command, is_forked] = time.monotonic() - begin
                assert code == 0, errors
            self._whole[command] = self._left()

    def attempt(self, draw: Random) -> Outcome:
        """Send a command signals, after a time that is anything up to a little longer than it takes."""
        command, is_forked, moments = self._plan(draw)
        on_terminal = is_forked and draw.random() < 0.4
        self._clear()
        if on_terminal:
            environment = sandbox.environment(self._folder)
            code, shown = run_on_terminal(
                command, self._folder, environment, lambda process: _send(process, moments)
            )
            fault = fault_left_behind(shown)
        else:
            code, errors = self._run(command, is_forked, moments)
            # Until Python runs the first line of the package, Ctrl-C is Python's to answer.
            if b"KeyboardInterrupt" in errors and b"/gpt2cli/" not in errors:
                return Outcome("died before it began")
            fault = _fault_said(errors)
        return Outcome(
            "finished" if code == 0 else "died",
            fault or self._fault_of_end(code, moments) or self._fault_left(command, code),
        )

    def keep(self, draw: Random, folder: Path) -> str:
        """Return the command line and the signals."""
        command, is_forked, moments = self._plan(draw)
        return f"gpt2 {' '.join(command)} ({'forked' if is_forked else 'started'}), {moments}"

    def _plan(self, draw: Random) -> tuple[tuple[str, ...], bool, list[tuple[signal.Signals, float]]]:
        """Return the command, whether it is forked, and signals with the seconds to wait before each."""
        command, is_forked = draw.choice(COMMANDS), draw.random() < 0.6
        moments = [(draw.choice(SIGNALS), draw.uniform(0.0, 1.1) * self._seconds[command, is_forked])]
        if draw.random() < 0.2:
            moments.append((draw.choice(SIGNALS), draw.uniform(0.0, 0.01)))
        return command, is_forked, moments

    def _run(
        self, command: Sequence[str], is_forked: bool, moments: Sequence[tuple[signal.Signals, float]]
    ) -> tuple[int, bytes]:
        environment = sandbox.environment(self._folder)
        errors = self._folder / ".errors"
        with errors.open("wb") as stderr, Path(os.devnull).open("r+b") as null:
            if is_forked:
                streams = [null.fileno(), null.fileno(), stderr.fileno()]
                process = forked.start(command, self._folder, environment, streams)
                _send(process, moments)
                code = forked.wait(process)
            else:
                started = subprocess.Popen(
                    [sys.executable, "-m", "gpt2cli", *command],
                    cwd=self._folder,
                    env=environment,
                    stdin=null,
                    stdout=null,
                    stderr=stderr,
                )
                _send(started.pid, moments)
                code = started.wait(forked.MOST_WAITING)
        return code, errors.read_bytes()

    def _fault_of_end(self, code: int, moments: Sequence[tuple[signal.Signals, float]]) -> str:
        if code == 0 or -code in [number for number, _ in moments]:
            return ""
        return f"it ended with {code}"

    def _fault_left(self, command: tuple[str, ...], code: int) -> str:
        """Return what a command left that is not whole, or nothing."""
        left, whole = self._left(), self._whole[command]
        for name, content in left.items():
            if name not in whole:
                return f"it left {name}"
            if content != whole[name] and not name.endswith(".json"):
                return f"it left {name}, which is not whole"
        if code == 0 and left.keys() != whole.keys():
            return f"it ended well without {whole.keys() - left.keys()}"
        kept = [path.name for path in (self._folder / "home").rglob("*.*") if path.suffix[1:].isdigit()]
        return f"it left {kept[0]}" if kept else ""

    def _left(self) -> dict[str, bytes]:
        return {str(path.relative_to(self._folder)): path.read_bytes() for path in self._files("out")}

    def _files(self, name: str) -> Iterator[Path]:
        return (path for path in sorted((self._folder / name).rglob("*")) if path.is_file())

    def _clear(self) -> None:
        """Remove what commands made."""
        from shutil import rmtree

        for path in (self._folder / "out").iterdir():
            rmtree(path) if path.is_dir() else path.unlink()
        rmtree(self._folder / "home", ignore_errors=True)


def _send(process: int, moments: Sequence[tuple[signal.Signals, float]]) -> None:
    for number, seconds in moments:
        time.sleep(seconds)
        # A process that has ended is there until it is waited for.
        os.kill(process, number)


def _fault_said(errors: bytes) -> str:
    """Return what is wrong with what a command said before it died, or nothing."""
    text = errors.decode("utf-8", "replace")
    for line in text.splitlines():
        if fault := fault_of_line(line):
            return f"{fault}: {text[-700:]!r}"
        if line.startswith("Error: "):
            return f"it called the signal an error: {line!r}"
    return ""
