"""An output file that grows line by line, and that a later run can go on with."""

from __future__ import annotations

import fcntl
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from gpt2cli.checkpoint.whole_file import whole_file
from gpt2cli.errors import InputError, UsageError, brief
from gpt2cli.generation.settings import MAX_SEED
from gpt2cli.serving.lines import Answer
from gpt2cli.serving.protocol import INVALID_REQUEST, VERSION

RECORD_SUFFIX = ".run"
DONE = "done"
PAGE_LINES = 4096
# No input has more lines than 18 digits count.
_HEAD = re.compile(rb'\{"v": 1, "line": ([0-9]{1,18}), |\{"id": "batch_req_([0-9]{1,18})", ')
# Within a string, the quotation marks would be escaped.
_UNUSUAL = re.compile(rb'"error": \{|"delta": "')


class LineSet:
    """A set of line numbers, a byte each; what stands between two that are far apart takes no memory."""

    def __init__(self) -> None:
        self._pages: defaultdict[int, bytearray] = defaultdict(partial(bytearray, PAGE_LINES))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, line: int) -> bool:
        number, place = divmod(line, PAGE_LINES)
        page = self._pages.get(number)
        return page is not None and page[place] == 1

    def add(self, line: int) -> None:
        """Add a number."""
        number, place = divmod(line, PAGE_LINES)
        page = self._pages[number]
        self._count += not page[place]
        page[place] = 1


@dataclass
class Answered:
    """What an output file holds: the lines that need no further answer, and how many of these are errors.

    `kept` is where its last whole line ends; `has_leftovers` says whether answers before that are to be
    given again.
    """

    lines: LineSet = field(default_factory=LineSet)
    invalid: int = 0
    kept: int = 0
    has_leftovers: bool = False


class Journal:
    """The output of a run, one line for each answer."""

    def __init__(self, path: Path, file: IO[bytes], answered: Answered) -> None:
        self.answered = answered
        self._path = path
        self._file = file

    def write(self, answer: Answer) -> None:
        """Write an answer.

        Raises:
            OSError: writing failed; the error names the file.
        """
        try:
            rest = memoryview(answer.data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            error.filename = str(self._path)
            raise


def read_record(path: Path) -> dict[str, Any] | None:
    """Return what is known of the run that wrote an output file, or None.

    Raises:
        InputError: the record is damaged.
    """
    try:
        found = json.loads(_record_path(path).read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise _unusable(path, "damaged") from error
    if not isinstance(found, dict) or found.get("v") != VERSION:
        raise _unusable(path, "of another version")
    source = found.get("input")
    numbers = [found.get("seed"), source.get("bytes", 0) if isinstance(source, dict) else None]
    # True is an int to Python.
    if not all(type(number) is int and 0 <= number <= MAX_SEED for number in numbers):
        raise _unusable(path, "damaged")
    return found


def check_output(path: Path, resume: bool) -> dict[str, Any] | None:
    """Return the record of the run that is to be resumed, or None if a new one starts.

    Raises:
        UsageError: an unfinished run would be lost, or cannot be resumed.
        InputError: the record is damaged.
    """
    record = read_record(path)
    holds_answers = path.exists() and path.stat().st_size > 0
    if resume and record is None and holds_answers:
        raise UsageError(f"{path} has no record of its run in {_record_path(path)}.", "`resume` needs it.")
    if not resume and record and not record.get(DONE) and holds_answers:
        raise UsageError(
            f"{path} holds the answers of an unfinished run.",
            "`resume` goes on with it; to start anew, remove it.",
        )
    return record if resume else None


def require_same(path: Path, record: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Check that a run is the one of a record.

    Raises:
        UsageError: something differs; the message names the first such thing.
    """
    for name, before, now in _differences(record, json.loads(json.dumps(facts)), ""):
        if name.startswith("input"):
            raise UsageError(f"{path} was made from another input.", "`resume` needs the same.")
        raise UsageError(
            f"{path} was made with {name} {brief(json.dumps(before))}, not {brief(json.dumps(now))}.",
            "`resume` needs the same settings.",
        )


@contextmanager
def open_journal(path: Path, facts: Mapping[str, Any], *, resumed: bool) -> Iterator[Journal]:
    """Open an output file to go on with, or anew; its record is done when the block succeeds.

    Raises:
        UsageError: another process writes it.
        InputError: it holds something else than answers.
        OSError: it cannot be written.
    """
    with ExitStack() as stack:
        file = stack.enter_context(_locked(path))
        answered = read_answers(path) if resumed else Answered()
        if not resumed:
            # Old answers must never stand beside the record of a new run.
            _record_path(path).unlink(missing_ok=True)
        file.truncate(answered.kept)
        _write_record(path, {**facts, DONE: False})
        if answered.has_leftovers:
            _drop_leftovers(path, answered.lines)
            file = stack.enter_context(_locked(path))
        yield Journal(path, file, answered)
        _write_record(path, {**facts, DONE: True})


def read_answers(path: Path) -> Answered:
    """Return which lines have their answer in an output file; a torn last line counts for nothing.

    Raises:
        InputError: a line is no answer.
    """
    answered = Answered()
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            if not data.endswith(b"\n"):
                break
            state = state_of(data)
            if state is None:
                raise InputError(f"{path}, line {number} is not an answer.", "Remove it, or write elsewhere.")
            line, is_done, is_error = state
            if is_done:
                answered.lines.add(line)
                answered.invalid += is_error
            answered.has_leftovers |= not is_done
            answered.kept += len(data)
    return answered


def state_of(data: bytes) -> tuple[int, bool, bool] | None:
    """Return the line that an answer is for, whether it is its last, and whether it is an error."""
    head = _HEAD.match(data)
    if not head:
        return None
    line = int(head[1] or head[2])
    if not _UNUSUAL.search(data):
        return line, True, False
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    error = value.get("error") or _object(_object(value.get("response")).get("body")).get("error")
    if isinstance(error, dict):
        return line, error.get("type") == INVALID_REQUEST, True
    return line, "delta" not in value, False


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _unusable(path: Path, what: str) -> InputError:
    return InputError(f"{_record_path(path)} is {what}.", f"Remove it and {path} to start anew.")


def _drop_leftovers(path: Path, done: LineSet) -> None:
    """Take out the answers that will be given again: of lines that failed, or whose stream broke off."""
    with path.open("rb") as answers, whole_file(path) as kept:
        for data in answers:
            state = state_of(data)
            if state and state[0] in done and (state[1] or not state[2]):
                kept.write(data)


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    # Closing a buffered file would try again what could not be written.
    with path.open("ab", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"Another process writes {path}.", "Give each its own file.") from error
        except OSError:
            # Some network file systems have no locks.
            pass
        yield file


def _differences(record: Any, facts: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name of each fact that differs, with what it was and is."""
    if isinstance(record, dict) and isinstance(facts, dict):
        for key in facts:
            yield from _differences(record.get(key), facts[key], f"{name}.{key}" if name else key)
    elif record != facts:
        yield name.removeprefix("settings."), record, facts


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + RECORD_SUFFIX)


def _write_record(path: Path, record: Mapping[str, Any]) -> None:
    with whole_file(_record_path(path)) as file:
        # ASCII, as the name of a model may hold bytes that are not UTF-8.
        file.write(json.dumps({"v": VERSION, **record}, indent=1).encode("ascii") + b"\n")
