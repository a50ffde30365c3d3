"""Ids to text as they arrive: never half a character, never what a stop may take back."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpt2cli.text.streaming.text_ends import Unit


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
        self._stops = tuple(stop)
        self._longest = max(map(len, self._stops), default=0)
        self._stop_at = stop_at
        self._keep_stop = keep_stop
        self._tokens_to_go = min_tokens
        # The length of the text that no stop may shorten.
        self._least = 0
        self._text = ""
        self._released = 0
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
        if not self._stops and not self._stop_at:
            return text
        self._text += text
        if self._tokens_to_go:
            self._tokens_to_go -= not final
            self._least = len(self._text)
        certain = len(self._text) if final else max(self._uncertain_from(), self._least)
        found = None if self._tokens_to_go else min(self._found(), default=None)
        # A longer stop that began before the one found would end the text sooner.
        if found and found[0] <= certain:
            self.stopped = True
            certain = found[self._keep_stop]
        released, self._released = self._released, certain
        return self._text[released:certain]

    def _found(self) -> Iterator[tuple[int, int]]:
        """Yield the first place of each stop: where the text ends without it, and with it."""
        for stop in self._stops:
            least = self._least - (len(stop) if self._keep_stop else 0)
            # What is released begins no stop, unless `min_tokens` released it.
            start = self._text.find(stop, max(least, self._released - len(stop), 0))
            if start >= 0:
                yield start, start + len(stop)
        if self._stop_at:
            from gpt2cli.text.streaming.text_ends import text_ends

            ends = text_ends(self._text, self._stop_at, self._released)
            yield from islice((end for end in ends if end[self._keep_stop] >= self._least), 1)

    def _uncertain_from(self) -> int:
        """Return where text begins that may be the beginning of a stop."""
        text = self._text
        # What follows white space decides whether the text ends before it.
        end = len(text.rstrip()) if self._stop_at else len(text)
        for start in range(max(0, len(text) - self._longest + 1), end):
            tail = text[start:]
            if any(stop.startswith(tail) for stop in self._stops):
                return start
        return end
