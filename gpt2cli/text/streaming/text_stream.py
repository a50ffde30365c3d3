"""Ids to text as they arrive: never half a character, never what a stop may take back."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpt2cli.text.streaming.stop_strings import StopStrings
    from gpt2cli.text.streaming.text_ends import TextEnds, Unit


class TextStream:
    """A decoder of ids that arrive one at a time.

    Its pieces joined are the text of all ids, up to the stop that begins first: a stop string, or the end of
    the first unit `stop_at`. With `keep_stop`, the text has the stop too. A stop that would leave less text
    than that of the first `min_tokens` ids does not count. Bytes that are not valid UTF-8 become U+FFFD.
    `stopped` is true once a stop was found.

    Raises:
        ValueError: a stop string is empty.
    """

    def __init__(
        self,
        token_bytes: Callable[[int], bytes],
        stop: Sequence[str] = (),
        *,
        stop_at: Unit | None = None,
        keep_stop: bool = False,
        min_tokens: int = 0,
    ) -> None:
        if "" in stop:
            raise ValueError("a stop string must not be empty")
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._searches = _searches(stop, stop_at)
        self._keep_stop = keep_stop
        self._tokens_to_go = min_tokens
        # The length of the text that no stop may shorten.
        self._least = 0
        # Where stops that count begin and end.
        self._places: list[tuple[int, int]] = []
        self._length = self._released = 0
        # The text that is not released, in pieces.
        self._held: list[str] = []
        self.stopped = False

    def push(self, token_id: int) -> str:
        """Return the text that is certain after one more id, or an empty string once stopped."""
        if self.stopped:
            return ""
        text = self._decoder.decode(self._token_bytes(token_id))
        if not self._searches:
            return text
        self._search(text)
        if self._tokens_to_go:
            self._tokens_to_go -= 1
            self._least = self._length
        return self._release(min([search.first_to_come for search in self._searches]))

    def finish(self) -> str:
        """Return the text that was held back until the last id, or an empty string once stopped."""
        if self.stopped:
            return ""
        text = self._decoder.decode(b"", final=True)
        if not self._searches:
            return text
        self._search(text)
        return self._release((self._length, self._length))

    def _search(self, text: str) -> None:
        self._held.append(text)
        self._length += len(text)
        for search in self._searches:
            self._places += search.push(text)

    def _release(self, first_to_come: tuple[int, int]) -> str:
        """Return the text that is certain; stops that are still to come have at least this place."""
        end = max(first_to_come[0], self._least)
        if self._places:
            self._places = [place for place in self._places if place[self._keep_stop] >= self._least]
        if self._places and not self._tokens_to_go:
            first = min(self._places)
            self._places = [first]
            # Without the stop, the text is the same whichever of those that begin there it is.
            if first <= first_to_come if self._keep_stop else first[0] <= first_to_come[0]:
                self.stopped = True
                end = first[self._keep_stop]
        if end == self._released:
            return ""
        held = "".join(self._held)
        count, self._released = end - self._released, end
        self._held = [held[count:]]
        return held[:count]


def _searches(stop: Sequence[str], stop_at: Unit | None) -> list[StopStrings | TextEnds]:
    found: list[StopStrings | TextEnds] = []
    # Most texts have no stop.
    if stop:
        from gpt2cli.text.streaming.stop_strings import StopStrings

        found.append(StopStrings(stop))
    if stop_at:
        from gpt2cli.text.streaming.text_ends import TextEnds

        found.append(TextEnds(stop_at))
    return found
