"""Where stop strings stand in a growing text."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """A search for strings, none of which is empty, in a text that arrives in pieces."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = strings
        self._first_letters = {string[0] for string in strings}
        self._longest = max(map(len, strings))
        self._length = 0
        # The end of the text that may begin a string.
        self._held = ""

    def push(self, text: str) -> list[tuple[int, int]]:
        """Return where strings begin and end that are complete with more text."""
        window = self._held + text
        self._length += len(text)
        before = self._length - len(window)
        found: list[tuple[int, int]] = []
        for string in self._strings:
            start = window.find(string)
            while start >= 0:
                found.append((before + start, before + start + len(string)))
                start = window.find(string, start + 1)
        start = max(0, len(window) - self._longest + 1)
        while start < len(window) and not self._may_begin_at(window, start):
            start += 1
        self._held = window[start:]
        return found

    @property
    def first_to_come(self) -> tuple[int, int]:
        """The least place that more text may give a string."""
        return self._length - len(self._held), self._length + 1

    def _may_begin_at(self, window: str, start: int) -> bool:
        # Most tokens need no more than the first letters.
        if window[start] not in self._first_letters:
            return False
        return any(string.startswith(window[start:]) for string in self._strings)
