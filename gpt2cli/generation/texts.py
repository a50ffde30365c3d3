"""The texts in the KV memory: those that are read, and those that are kept for others that begin alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from gpt2cli.model.kv_memory import KVMemory
from gpt2cli.ops.operations import A

# Reading fewer positions takes no longer than copying their keys and values.
SHORTEST_SHARED = 16


@dataclass(eq=False, repr=False)
class Text:
    """A text's ids, the first `length` of which are read, and its place in the memory.

    At least `planned` of them are going to be read. A text that is `aside` has ended and was moved.
    """

    ids: Sequence[int]
    begin: int
    capacity: int
    length: int
    planned: int
    aside: bool = False

    def __post_init__(self) -> None:
        # The ids grow.
        self.beginning = _beginning(self.ids)


class Texts(Generic[A]):
    """All texts in a KV memory. At most `most_kept` are kept after their end, until the memory is needed."""

    def __init__(self, memory: KVMemory[A], most_kept: int) -> None:
        self._memory = memory
        self._most_kept = most_kept
        self._by_beginning: dict[tuple[int, ...], list[Text]] = {}
        # The one that was of use last is the last.
        self._kept: dict[Text, None] = {}

    def open(self, ids: Sequence[int], capacity: int, twin: Text | None = None) -> Text | None:
        """Return a new text with room for `capacity` positions; what it shares with another is read.

        Without a twin, whose ids are the same and all read, that is not the last: its logits are needed.
        Return None if the memory is full, or if a text that is being read now is going to have more of it.
        """
        source, shared, planned = (twin, len(ids), 0) if twin else self._longest(ids)
        if planned >= shared + SHORTEST_SHARED:
            return None
        place = self._take_over(source, capacity, shared) or self._claim(source, capacity, shared)
        if not place:
            return None
        text = Text(ids, *place, len(ids))
        self._by_beginning.setdefault(text.beginning, []).append(text)
        return text

    def close(self, text: Text) -> None:
        """End a text, which is kept if another could share enough of it."""
        text.planned = 0
        self._kept[text] = None
        hidden = text not in self._by_beginning.get(text.beginning, ())
        if hidden or text.length < SHORTEST_SHARED:
            self._drop(text)
            return
        if len(self._kept) > self._most_kept:
            self._drop(next(iter(self._kept)))
        if self._memory.slot and text in self._kept:
            self._set_aside(text)

    def hide(self, text: Text) -> None:
        """Let no other text share this one, which is read anew."""
        alike = self._by_beginning.get(text.beginning, [])
        if text in alike:
            alike.remove(text)
            if not alike:
                del self._by_beginning[text.beginning]

    def _longest(self, ids: Sequence[int]) -> tuple[Text | None, int, int]:
        """Return the text that shares the most, how much of it is read, and how much any will have read."""
        best: Text | None = None
        shared = planned = 0
        for text in self._by_beginning.get(_beginning(ids), ()):
            common = min(_common(text.ids, ids), len(ids) - 1)
            planned = max(planned, min(common, text.planned))
            if min(common, text.length) > shared:
                best, shared = text, min(common, text.length)
        return (best, shared, planned) if shared >= SHORTEST_SHARED else (None, 0, planned)

    def _take_over(self, source: Text | None, capacity: int, shared: int) -> tuple[int, int, int] | None:
        """Return the place of a text that has ended, and what is read there, unless most would be lost."""
        if source not in self._kept or source.aside:
            return None
        if source.capacity < capacity or 2 * shared < source.length:
            return None
        del self._kept[source]
        self.hide(source)
        return source.begin, source.capacity, shared

    def _claim(self, source: Text | None, capacity: int, shared: int) -> tuple[int, int, int] | None:
        """Claim memory, that of kept texts too, and copy what a source shares; return the place likewise."""
        while (begin := self._memory.claim(capacity)) is None:
            oldest = next((text for text in self._kept if text is not source), None)
            if oldest is None and source in self._kept:
                oldest, source, shared = source, None, 0
            if oldest is None:
                return None
            self._drop(oldest)
        if source:
            self._memory.copy(self._memory, source.begin, begin, shared)
            if source in self._kept:
                self._kept[source] = self._kept.pop(source)
        return begin, capacity, shared

    def _set_aside(self, text: Text) -> None:
        """Move a text behind those that are read, whose slots lie side by side, if there is room."""
        begin = self._memory.claim(text.length, last=True)
        if begin is None:
            return
        if begin < text.begin:
            self._memory.free(begin, text.length)
            return
        self._memory.copy(self._memory, text.begin, begin, text.length)
        self._memory.free(text.begin, text.capacity)
        text.begin, text.capacity, text.aside = begin, text.length, True

    def _drop(self, text: Text) -> None:
        self.hide(text)
        del self._kept[text]
        self._memory.free(text.begin, text.capacity)


def _beginning(ids: Sequence[int]) -> tuple[int, ...]:
    return tuple(ids[:SHORTEST_SHARED])


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many ids two lists have in common from the first on."""
    least, most = 0, min(len(left), len(right))
    while least < most:
        middle = (least + most + 1) // 2
        if left[least:middle] == right[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least
