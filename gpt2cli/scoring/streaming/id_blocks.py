"""The ids of a text, which may arrive in blocks while they are read."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

# Returns how many of the first ids there are, up to the number that is asked for.
Reach: TypeAlias = Callable[[int], int]


def reach_of(length: int) -> Reach:
    """Return the reach of a sequence whose length is known."""
    return lambda count: min(count, length)


class IdBlocks:
    """Ids in blocks, read when they are needed and forgotten when told."""

    def __init__(self, blocks: Iterable[Sequence[int]]) -> None:
        self._blocks = iter(blocks)
        self._ids = array("I")
        # How many were forgotten.
        self._start = 0

    def reach(self, count: int) -> int:
        """Return how many of the first `count` ids there are, after reading what it takes to know."""
        while self._start + len(self._ids) < count:
            block = next(self._blocks, None)
            if block is None:
                break
            self._ids.extend(block)
        return min(count, self._start + len(self._ids))

    def between(self, start: int, end: int) -> list[int]:
        """Return the ids from a place to another, as far as there are any."""
        self.reach(end)
        return list(self._ids[start - self._start : end - self._start])

    def forget(self, end: int) -> None:
        """Allow the ids before a place to be forgotten."""
        # Those that stay are moved, which must not happen again and again.
        if 2 * (end - self._start) >= len(self._ids):
            del self._ids[: end - self._start]
            self._start = end


class SharedBlocks:
    """Blocks of ids for two readers, of which the first reads ahead of the second."""

    def __init__(self, blocks: Iterable[Sequence[int]]) -> None:
        self._blocks = iter(blocks)
        self._waiting: list[Sequence[int]] = []

    def first(self) -> Iterator[Sequence[int]]:
        """Yield the blocks and keep them for the second reader."""
        for block in self._blocks:
            self._waiting.append(block)
            yield block

    def second(self) -> Iterator[int]:
        """Yield the ids of all blocks, those that the first reader never asked for too."""
        while True:
            while self._waiting:
                yield from self._waiting.pop(0)
            block = next(self._blocks, None)
            if block is None:
                return
            self._waiting.append(block)
