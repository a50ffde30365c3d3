"""Ids of text without a place to cut: words, numbers and white space of any length, in bounded memory."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING

from gpt2cli.text.stored.library import pretoken_ids, pretoken_places

if TYPE_CHECKING:
    import tokenizers

# A pretoken of this many characters is read in stretches of so many bytes.
LONG_PRETOKEN = 1 << 12
STRETCH_BYTES = 1 << 16
# The next two characters decide where a pretoken ends: 'l may become 'll. Two at the end of a long one decide
# how it goes on.
AHEAD = 2


class LongRuns:
    """An encoder of text that arrives in parts; the ids of all parts are those of the whole.

    Text between long pretokens goes to `encode`. `added` maps the tokens that split text before anything else
    does to their ids.
    """

    def __init__(
        self, library: tokenizers.Tokenizer, encode: Callable[[str], array[int]], added: Mapping[str, int]
    ) -> None:
        vocabulary = library.get_vocab(with_added_tokens=False)
        lengths = {token_id: len(token) for token, token_id in vocabulary.items()}
        self._open = partial(_Section, library, encode, partial(_LongPretoken, library, lengths))
        self._section = self._open()
        self._added = added
        self._longest = max(map(len, added), default=1)
        # The library prefers the longest of those that begin at a place.
        longest_first = sorted(added, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) if added else r"(?!)")
        self._held = ""

    def push(self, text: str) -> array[int]:
        """Return the ids that are certain after more text."""
        ids, rest = self._split(self._held + text)
        # What may be the beginning of an added token.
        sure = max(len(rest) - self._longest + 1, 0)
        self._held = rest[sure:]
        return ids + self._section.push(rest[:sure])

    def finish(self) -> array[int]:
        """Return the remaining ids at the end of the text."""
        ids, rest = self._split(self._held)
        self._held = ""
        return ids + self._end_section(rest)

    def _split(self, text: str) -> tuple[array[int], str]:
        """Return the ids up to the last added token in a text, and the text behind it."""
        ids = array("I")
        start = 0
        for found in self._pattern.finditer(text):
            ids += self._end_section(text[start : found.start()])
            ids.append(self._added[found[0]])
            start = found.end()
        return ids, text[start:]

    def _end_section(self, text: str) -> array[int]:
        ids = self._section.push(text) + self._section.finish()
        self._section = self._open()
        return ids


class _Section:
    """An encoder of text without added tokens."""

    def __init__(
        self,
        library: tokenizers.Tokenizer,
        encode: Callable[[str], array[int]],
        open_pretoken: Callable[[], _LongPretoken],
    ) -> None:
        self._library = library
        self._encode = encode
        self._open_pretoken = open_pretoken
        # Within a pretoken, text begins with its last characters that were read.
        self._held = ""
        self._pretoken: _LongPretoken | None = None

    def push(self, text: str) -> array[int]:
        """Return the ids that are certain after more text."""
        text = self._held + text
        places = pretoken_places(self._library, text)
        certain = [place for place in places if place[1] <= len(text) - AHEAD]
        ids, done = self._read(text, certain)
        start, end = places[len(certain)] if len(certain) < len(places) else (done, done)
        if self._pretoken or end - start > LONG_PRETOKEN:
            self._pretoken = self._pretoken or self._open_pretoken()
            ids += self._pretoken.push(text[done : end - AHEAD].encode())
            done = end - AHEAD
        self._held = text[done:]
        return ids

    def finish(self) -> array[int]:
        """Return the remaining ids at the end of the text."""
        ids, _ = self._read(self._held, pretoken_places(self._library, self._held))
        return ids

    def _read(self, text: str, places: list[tuple[int, int]]) -> tuple[array[int], int]:
        """Return the ids of whole pretokens, and where the last of them ends."""
        ids = array("I")
        done = 0
        if self._pretoken and places:
            done = places[0][1]
            ids += self._pretoken.push(text[:done].encode()) + self._pretoken.finish()
            self._pretoken = None
        # Without what follows, white space at the end would be split in another way.
        plain = max((end for _, end in places if not text[end - 1].isspace()), default=done)
        if plain > done:
            ids += self._encode(text[done:plain])
        for start, end in places:
            if start >= max(plain, done):
                ids += array("I", pretoken_ids(self._library, text[start:end].encode()))
        return ids, max([done, *(end for _, end in places)])


class _LongPretoken:
    """An encoder of one pretoken that arrives in parts.

    Merging pairs by rank, the leftmost first, makes this exact: tokens are those of a text if and only if
    every two neighbors are those of the two together, because the first merge across the border of two tokens
    would happen in their text alone too. So the tokens of two texts that overlap in one token can be joined
    there. What follows begins behind one of the last places, as many as the longest token has bytes. A token
    is certain if the text from its start to each of these places begins with it.
    """

    def __init__(self, library: tokenizers.Tokenizer, lengths: Mapping[int, int]) -> None:
        self._ids_of = partial(pretoken_ids, library)
        self._lengths = lengths
        self._longest = max(lengths.values())
        # It begins with the last token that was returned, if any was.
        self._rest = b""
        self._returned = 0
        self._enough = STRETCH_BYTES

    def push(self, data: bytes) -> array[int]:
        """Return the ids that are certain after more bytes."""
        ids = array("I")
        for start in range(0, len(data), STRETCH_BYTES):
            self._rest += data[start : start + STRETCH_BYTES]
            if len(self._rest) >= self._enough:
                ids += self._certain_ids()
        return ids

    def _certain_ids(self) -> array[int]:
        ids = self._ids_of(self._rest)
        starts = [0, *accumulate(self._lengths[token_id] for token_id in ids)]
        for index in self._candidates(starts):
            if self._is_certain(ids[index], starts[index]):
                certain = array("I", ids[self._returned : index + 1])
                self._rest = self._rest[starts[index] :]
                self._returned = 1
                self._enough = len(self._rest) + STRETCH_BYTES
                return certain
        # Rare, and then tried again only when there is twice as much.
        self._enough = 2 * len(self._rest)
        return array("I")

    def finish(self) -> array[int]:
        """Return the remaining ids at the end of the pretoken."""
        return array("I", self._ids_of(self._rest)[self._returned :])

    def _candidates(self, starts: list[int]) -> Iterator[int]:
        """Yield indices of tokens farther and farther from the end, but not that of the first."""
        distance = 2 * self._longest
        while (index := bisect_right(starts, starts[-1] - distance) - 1) > 0:
            yield index
            distance *= 2

    def _is_certain(self, token_id: int, start: int) -> bool:
        size = len(self._rest)
        ends = range(size - self._longest + 1, size + 1)
        return all(self._ids_of(self._rest[start:end])[0] == token_id for end in ends)
