"""What rules that depend on a whole text know of its ids. The text may grow, and each id is read once."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


class Counts(NamedTuple):
    """Different ids (ids,), in order of their first occurrence, and how often each occurs (ids,)."""

    ids: Integers
    times: Integers


class IdCounts:
    """How often each id occurs in a growing text from `start` on."""

    def __init__(self, text: Sequence[int], start: int = 0) -> None:
        self._text = text
        self._read = start
        self._places: dict[int, int] = {}
        self._ids, self._times = array("q"), array("q")

    def current(self) -> Counts:
        """Return the counts of the text so far."""
        for token_id in self._text[self._read :]:
            place = self._places.setdefault(token_id, len(self._ids))
            if place == len(self._ids):
                self._ids.append(token_id)
                self._times.append(0)
            self._times[place] += 1
        self._read = len(self._text)
        return Counts(np.array(self._ids), np.array(self._times))


class Repeats:
    """The ids that would complete a run of `size` ids that a growing text already has.

    Equal runs have equal numbers, made from the numbers of their halves, so that long runs cost little more.
    Karp, Miller, Rosenberg, "Rapid Identification of Repeated Patterns in Strings, Trees and Arrays" (1972).
    """

    def __init__(self, text: Sequence[int], size: int) -> None:
        self._text = text
        self._length = size - 1
        doublings = max(self._length.bit_length() - 1, 0)
        # For the runs of 2, 4, 8 and so on ids: the number of the one from each place on, and the number for
        # those of two halves.
        self._runs: list[list[int]] = [[] for _ in range(doublings)]
        self._numbers: list[dict[tuple[int, int], int]] = [{} for _ in range(doublings)]
        self._followers: defaultdict[tuple[int, ...], array[int]] = defaultdict(lambda: array("q"))
        self._known: set[tuple[int, ...]] = set()
        self._next = self._length

    def current(self) -> Sequence[int]:
        """Return these ids for the text so far, each once."""
        self._number_runs()
        text = self._text
        for place in range(self._next, len(text)):
            before, follower = self._before(place), text[place]
            if (*before, follower) not in self._known:
                self._known.add((*before, follower))
                self._followers[before].append(follower)
        self._next = max(self._next, len(text))
        return self._followers.get(self._before(len(text)), ()) if len(text) >= self._length else ()

    def _number_runs(self) -> None:
        halves, half = self._text, 1
        for runs, numbers in zip(self._runs, self._numbers, strict=True):
            for start in range(len(runs), len(halves) - half):
                pair = halves[start], halves[start + half]
                runs.append(numbers.setdefault(pair, len(numbers)))
            halves, half = runs, 2 * half

    def _before(self, place: int) -> tuple[int, ...]:
        """Return the numbers of the beginning and the end of the run before a place, which overlap."""
        if not self._length:
            return ()
        halves = self._runs[-1] if self._runs else self._text
        return halves[place - self._length], halves[place - (1 << len(self._runs))]


class SeenIds:
    """The ids of a growing text that starts with a prompt."""

    def __init__(self, text: Sequence[int], prompt_length: int, ngram: int) -> None:
        self.text = text
        self.prompt_length = prompt_length
        self.all = IdCounts(text)
        self.generated = IdCounts(text, prompt_length)
        self.repeats = Repeats(text, ngram)
