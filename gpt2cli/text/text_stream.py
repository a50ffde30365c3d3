"""Ids to text as they arrive: never half a character, never part of a stop string."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence


class TextStream:
    """A decoder of ids that arrive one at a time.

    Its pieces joined are the text of all ids, up to the stop string that begins first. Bytes that are not
    valid UTF-8 become U+FFFD. `stopped` is true once a stop string was found.

    Raises:
        ValueError: a stop string is empty.
    """

    def __init__(self, token_bytes: Callable[[int], bytes], stop: Sequence[str] = ()) -> None:
        if "" in stop:
            raise ValueError("a stop string must not be empty")
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = tuple(stop)
        self._longest = max(map(len, self._stops), default=0)
        self._any_stop = re.compile("|".join(map(re.escape, self._stops)))
        self._held = ""
        self.stopped = False

    def push(self, token_id: int) -> str:
        """Return the text that is certain after one more id, or an empty string once stopped."""
        if self.stopped:
            return ""
        return self._release(self._decoder.decode(self._token_bytes(token_id)), final=False)

    def finish(self) -> str:
        """Return the text that was held back until the last id, or an empty string once stopped."""
        if self.stopped:
            return ""
        return self._release(self._decoder.decode(b"", final=True), final=True)

    def _release(self, text: str, final: bool) -> str:
        if not self._stops:
            return text
        text = self._held + text
        uncertain = len(text) if final else self._uncertain_from(text)
        found = self._any_stop.search(text)
        # A longer stop string that began before the one found would end the text sooner.
        if found and found.start() <= uncertain:
            self.stopped = True
            uncertain = found.start()
            self._held = ""
        else:
            self._held = text[uncertain:]
        return text[:uncertain]

    def _uncertain_from(self, text: str) -> int:
        """Return where the longest suffix of text that begins a stop string starts."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            tail = text[start:]
            if any(stop.startswith(tail) for stop in self._stops):
                return start
        return len(text)
