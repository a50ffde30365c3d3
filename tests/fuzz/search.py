"""A search: how to make one attempt of a kind, and what it found."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import NamedTuple, Protocol


class Outcome(NamedTuple):
    """How an attempt ended, in a word or two that are counted, and the fault if it is one."""

    kind: str
    fault: str = ""


class Search(Protocol):
    """Attempts of a kind, each a function of its generator alone."""

    name: str

    def prepare(self, folder: Path) -> None:
        """Put what all attempts share into a folder."""

    def attempt(self, draw: Random) -> Outcome:
        """Make one attempt in the folder."""

    def keep(self, draw: Random, folder: Path) -> str:
        """Put what an attempt was made with into a new folder, or return it as a line of text."""


def generator(name: str, seed: int, number: int) -> Random:
    """Return the generator of one attempt."""
    return Random(f"{name} {seed} {number}")
