"""The reports of a long job: notes, phases, downloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

# Takes the name of a file, its bytes so far and its bytes in all.
Progress: TypeAlias = Callable[[str, int, int], None]


class Reporter:
    """A receiver of a job's reports; this one ignores them all."""

    def note(self, text: str) -> None:
        """Take one line that the user should read."""

    def detail(self, text: str) -> None:
        """Take one line for a user who asked for details."""

    def finish(self, phase: str) -> None:
        """Take the name of a phase that has just ended, such as `weights`."""

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Report that the work in the block has begun; it may take a while."""
        yield

    @contextmanager
    def fetching(self, model: str) -> Iterator[Progress]:
        """Yield the function that takes the progress of a download."""
        yield _ignore


def _ignore(name: str, done: int, size: int) -> None:
    pass
