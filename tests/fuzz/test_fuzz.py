"""A short part of each search; `make fuzz` goes on for as long as one likes."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from random import Random

import pytest
from backends import needs_kernels

from fuzz.mutation import changed_bytes, changed_json, changed_safetensors
from fuzz.processes import forked
from fuzz.search import Outcome
from fuzz.searches import searches
from fuzz.worker import search

SEED = 1
# Of each kind, as many as take a few tenths of a second.
ATTEMPTS = {"config": 30, "safetensors": 60, "gguf": 40, "tokenizer": 20, "texts": 60}
ATTEMPTS |= dict.fromkeys(("items", "questions", "pairs", "tables"), 20)
ATTEMPTS |= dict.fromkeys(("trees", "records", "compressed", "journal"), 20)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the search measures processes as Linux does"),
]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_kernels if name == "compressed" else ()) for name in ATTEMPTS]
)
def test_a_file_that_is_changed_at_random_is_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    tally = search(searches()[name], SEED, lambda number: number < ATTEMPTS[name], tmp_path / "findings")
    assert tally.findings == []
    assert tally.kinds["read"] + tally.kinds["refused"] == ATTEMPTS[name]
    assert all(tally.kinds.values())


def test_a_changed_line_gets_an_answer_and_the_others_theirs(tmp_path: Path) -> None:
    tally = search(searches()["lines"], SEED, lambda number: number < 20, tmp_path / "findings")
    assert tally.findings == []
    assert tally.kinds["answered"] + tally.kinds["with errors"] == 20
    assert tally.kinds["with errors"]


def test_the_searches_among_processes_know_every_command() -> None:
    forked.call(forked.load_the_commands)


class Faulty:
    """A search whose attempts go wrong in every way that a worker knows."""

    name = "faulty"

    def prepare(self, folder: Path) -> None:
        pass

    def attempt(self, draw: Random) -> Outcome:
        match draw.randrange(6):
            case 0:
                os.kill(os.getpid(), signal.SIGKILL)
            case 1:
                raise BaseException("a panic")
            case 2:
                os.write(2, b"180 lines of a panic")
            case 3:
                ctypes.memset(ctypes.create_string_buffer(1 << 29), 1, 1 << 29)
            case 4:
                return Outcome("refused", "it is called a bug")
        return Outcome("read")

    def keep(self, draw: Random, folder: Path) -> str:
        return "evidence"


def test_a_crash_a_panic_a_flood_and_what_a_library_prints_are_found_and_kept(tmp_path: Path) -> None:
    tally = search(Faulty(), SEED, lambda number: number < 40, tmp_path)
    assert tally.attempts == 40
    sorts = ("SIGKILL", "a panic", "a library wrote to stderr", "MB of memory", "it is called a bug")
    for sort in sorts:
        assert any(sort in finding for finding in tally.findings), sort
    kept = (tmp_path / tally.findings[0].split(":")[0].replace(" ", f"-{SEED}-") / "finding.txt").read_text()
    assert "evidence" in kept
    assert f"make fuzz KINDS=faulty SEED={SEED} CASE=" in kept


@pytest.mark.parametrize("change", [changed_bytes, changed_json, changed_safetensors])
def test_a_change_is_a_function_of_its_generator(change: object) -> None:
    assert callable(change)
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    sound = header if change is changed_json else len(header).to_bytes(8, "little") + header + b"1234"
    changes = [change(Random(number), sound) for number in range(50)]
    assert changes == [change(Random(number), sound) for number in range(50)]
    assert len({*changes, sound}) > 25
