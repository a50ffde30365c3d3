"""Progress reports of a long job: notes, phases, downloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

# Takes a file's name, the bytes fetched so far and its size in bytes.
Progress: TypeAlias = Callable[[str, int, int], None]


class Reporter:
    """A receiver of a job's reports; this base class ignores them all."""

    def note(self, text: str) -> None:
        """Receive one line that the user should read."""

    def detail(self, text: str) -> None:
        """Receive one line for users who asked for details."""

    def finish(self, phase: str) -> None:
        """Receive the name of a phase that has just ended, such as `weights`."""

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Mark a block of work that may take a while; `text` describes it."""
        yield

    @contextmanager
    def fetching(self, model: str) -> Iterator[Progress]:
        """Yield the function that receives the progress of a download."""
        yield _ignore


def _ignore(name: str, done: int, size: int) -> None:
    pass
