"""Attempts in another process, so that a crash, a panic, a hang or a flood of memory is a finding too."""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from fuzz.search import Outcome, Search, generator

# Of one attempt, beyond what the process had before.
MOST_MEMORY = 400 << 20
# Of processor time, so that a busy machine finds nothing.
MOST_SECONDS = 20.0
# A deadlock takes no processor time.
MOST_WAITING = 300.0


@dataclass
class Tally:
    """What attempts led to, by kind, and the faults among them."""

    kinds: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    attempts: int = 0


def search(kind: Search, seed: int, goes_on: Callable[[int], bool], findings: Path, first: int = 0) -> Tally:
    """Make attempts, from the number `first` on, for as long as `goes_on` says so of the next one.

    What an attempt with a fault was made with is kept in a folder in `findings`.
    """
    tally = Tally()
    with TemporaryDirectory(prefix="gpt2-fuzz-") as name:
        folder = Path(name)
        # Some attempts give up root's rights.
        folder.chmod(0o755)
        kind.prepare(folder)
        number = first
        while goes_on(number):
            for done, outcome in _attempts(kind, seed, number, goes_on, folder):
                tally.attempts += 1
                tally.kinds[outcome.kind] += 1
                number = done + 1
                if outcome.fault:
                    tally.findings.append(_keep(kind, seed, done, outcome.fault, findings))
    return tally


def _attempts(
    kind: Search, seed: int, first: int, goes_on: Callable[[int], bool], folder: Path
) -> Iterator[tuple[int, Outcome]]:
    """Yield the outcomes of attempts in one process, until it may not go on or dies."""
    (reader, writer), (asks, answers) = os.pipe(), os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if not process:
        os.close(reader)
        os.close(answers)
        _work(kind, seed, first, folder, asks, writer)
    os.close(writer)
    os.close(asks)
    number, at_work = first, True
    with os.fdopen(reader, "rb") as results, os.fdopen(answers, "wb", buffering=0) as more:
        while at_work and goes_on(number):
            more.write(b"+")
            ready, _, _ = select.select([results], [], [], MOST_WAITING)
            line = results.readline() if ready else b""
            if not line:
                os.kill(process, signal.SIGKILL)
                yield number, Outcome("died", _why(process, bool(ready), folder))
                return
            yield number, Outcome(*json.loads(line))
            number += 1
    os.waitpid(process, 0)


def _why(process: int, ended: bool, folder: Path) -> str:
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if not ended:
        return f"no answer within {MOST_WAITING:.0f} s"
    if status == -signal.SIGPROF:
        return f"more than {MOST_SECONDS:.0f} s of processor time"
    errors = folder / "stderr"
    said = errors.read_bytes()[-500:].decode("utf-8", "replace") if errors.exists() else "its folder is gone"
    return f"the process died, {signal.Signals(-status).name if status < 0 else status}: {said!r}"


def _work(kind: Search, seed: int, first: int, folder: Path, asks: int, writer: int) -> NoReturn:
    """Make an attempt whenever asked for one, and answer with its outcome."""
    try:
        _answer(kind, seed, first, folder, asks, writer)
    finally:
        # Nothing of the process that it was forked from may run in this one.
        os._exit(sys.exc_info()[0] is not None)


def _answer(kind: Search, seed: int, first: int, folder: Path, asks: int, writer: int) -> None:
    errors = os.open(folder / "stderr", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(errors, 2)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    # As the command line has it.
    warnings.simplefilter("ignore")
    number = first
    try:
        while os.read(asks, 1):
            os.ftruncate(errors, 0)
            os.lseek(errors, 0, os.SEEK_SET)
            signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
            before = _start_peak()
            outcome = kind.attempt(generator(kind.name, seed, number))
            signal.setitimer(signal.ITIMER_PROF, 0)
            outcome = _with_process(outcome, _peak() - before, errors)
            os.write(writer, json.dumps(outcome).encode() + b"\n")
            number += 1
    except BaseException:
        traceback.print_exc()
        raise


def _with_process(outcome: Outcome, memory: int, errors: int) -> Outcome:
    if outcome.fault:
        return outcome
    if memory > MOST_MEMORY:
        return outcome._replace(fault=f"it took {memory >> 20:,} MB of memory")
    if said := os.pread(errors, 500, 0):
        return outcome._replace(fault=f"a library wrote to stderr: {said.decode('utf-8', 'replace')!r}")
    return outcome


def _start_peak() -> int:
    """Begin to measure the peak of memory, and bound it; return the bytes in use."""
    Path("/proc/self/clear_refs").write_text("5")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 8 * MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    return _peak()


def _peak() -> int:
    """Return the largest number of bytes in memory since `_start_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def _keep(kind: Search, seed: int, number: int, fault: str, findings: Path) -> str:
    """Keep what an attempt was made with, and return a line about it."""
    kept = findings / f"{kind.name}-{seed}-{number}"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    again = f"make fuzz KINDS={kind.name} SEED={seed} CASE={number}"
    note = kind.keep(generator(kind.name, seed, number), kept / "files")
    (kept / "finding.txt").write_text(f"{fault}\n{note}\n{again}\n", "utf-8", "backslashreplace")
    return f"{kind.name} {number}: {fault} ({again})"
