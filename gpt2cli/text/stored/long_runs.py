"""Ids of text without a place to cut: words, numbers and white space of any length, in bounded memory."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from gpt2cli.text.stored.library import joins, pretoken_ids, pretoken_places

if TYPE_CHECKING:
    import tokenizers

# A pretoken of this many characters is read in parts of so many, and its ids are returned in stretches.
LONG_PRETOKEN = 1 << 12
PART_BYTES = 1 << 14
STRETCH_BYTES = 1 << 18
_MOST_ENDS = 8
_MOST_CHARACTERS = 1 << 16
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
        self._open = partial(
            _Section,
            library,
            encode,
            lru_cache(_MOST_CHARACTERS)(partial(joins, library)),
            partial(_LongPretoken, library, encode, lengths),
        )
        self._section = self._open()
        self._added = added
        self._longest = max(map(len, added), default=1)
        # The library prefers the longest of those that begin at a place.
        longest_first = sorted(added, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if added else None
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
        for found in self._pattern.finditer(text) if self._pattern else ():
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
        joins: Callable[[str], str],
        open_pretoken: Callable[[], _LongPretoken],
    ) -> None:
        self._library = library
        self._encode = encode
        self._joins = joins
        self._open_pretoken = open_pretoken
        # Within a pretoken, text begins with its last characters that were read.
        self._held = ""
        self._pretoken: _LongPretoken | None = None

    def push(self, text: str) -> array[int]:
        """Return the ids that are certain after more text."""
        text = self._held + text
        if self._pretoken and len({self._joins(character) for character in {*text}}) == 1:
            self._held = text[-AHEAD:]
            return self._pretoken.push(text[:-AHEAD])
        places = pretoken_places(self._library, text)
        certain = [place for place in places if place[1] <= len(text) - AHEAD]
        ids, done = self._read(text, certain)
        start, end = places[len(certain)] if len(certain) < len(places) else (done, done)
        if self._pretoken or end - start > LONG_PRETOKEN:
            self._pretoken = self._pretoken or self._open_pretoken()
            ids += self._pretoken.push(text[done : end - AHEAD])
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
            ids += self._pretoken.push(text[:done]) + self._pretoken.finish()
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
    """An encoder of one pretoken that arrives in parts, each of whole characters.

    Merging pairs by rank, the leftmost first, makes this exact: tokens are those of a text if and only if
    every two neighbors are those of the two together, because the first merge across the border of two tokens
    would happen in their text alone too. So the tokens of two texts that overlap in one token can be joined
    there. What follows begins behind one of the last places, as many as the longest token has bytes. A token
    is certain if the text from its start to each of these places begins with it.
    """

    def __init__(
        self, library: tokenizers.Tokenizer, encode: Callable[[str], array[int]], lengths: Mapping[int, int]
    ) -> None:
        self._encode = encode
        self._lengths = lengths
        self._longest = max(lengths.values())
        # A run of one character ends in the same way again and again.
        self._is_certain = lru_cache(_MOST_ENDS)(partial(_is_first, library, self._longest))
        # The text from the last token on that was returned, if any was, and the ids of this text.
        self._rest = bytearray()
        self._ids = array("I")
        self._returned = 0
        self._enough = STRETCH_BYTES
        # What is not read yet, and how much of it is read at once.
        self._waiting = bytearray()
        self._part = PART_BYTES

    def push(self, text: str) -> array[int]:
        """Return the ids that are certain after more text."""
        ids = array("I")
        for start in range(0, len(text), PART_BYTES):
            self._waiting += text[start : start + PART_BYTES].encode()
            if len(self._waiting) >= self._part:
                self._read()
            if len(self._rest) >= self._enough:
                ids += self._certain_ids()
        return ids

    def finish(self) -> array[int]:
        """Return the remaining ids at the end of the pretoken."""
        self._read()
        return self._ids[self._returned :]

    def _read(self) -> None:
        for index, start in self._candidates():
            ids = self._encode((self._rest[start:] + self._waiting).decode())
            if ids[0] == self._ids[index]:
                self._ids[index:] = ids
                self._part = PART_BYTES
                break
        else:
            # Rare, and then more is read at once, so that the whole is not read too often.
            self._ids = self._encode((self._rest + self._waiting).decode())
            self._part = max(len(self._rest), PART_BYTES)
        self._rest += self._waiting
        self._waiting.clear()

    def _certain_ids(self) -> array[int]:
        for index, start in self._candidates():
            if self._is_certain(self._ids[index], bytes(self._rest[start:])):
                certain = self._ids[self._returned : index + 1]
                del self._rest[:start], self._ids[:index]
                self._returned = 1
                self._enough = len(self._rest) + STRETCH_BYTES
                return certain
        # Rare, and then tried again only when there is twice as much.
        self._enough = 2 * len(self._rest)
        return array("I")

    def _candidates(self) -> Iterator[tuple[int, int]]:
        """Yield indices and starts of tokens farther and farther from the end, but not of the first.

        They begin with a whole character.
        """
        distance = 2 * self._longest
        start = len(self._rest)
        for index in range(len(self._ids) - 1, 0, -1):
            start -= self._lengths[self._ids[index]]
            if len(self._rest) - start >= distance and self._rest[start] & 0xC0 != 0x80:
                yield index, start
                distance *= 2


def _is_first(library: tokenizers.Tokenizer, longest: int, token_id: int, text: bytes) -> bool:
    """Return whether a text begins with a token, wherever in its last `longest` places the text ends."""
    ends = range(len(text) - longest + 1, len(text) + 1)
    return all(pretoken_ids(library, text[:end])[0] == token_id for end in ends)
