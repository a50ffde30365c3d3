"""Byte streams of any length to ids, and ids written as text to numbers, in bounded memory."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Literal

from gpt2cli.errors import InputError
from gpt2cli.text.reading.limits import MOST_HELD, within
from gpt2cli.text.streaming.text_blocks import Block, cut_blocks, decode_utf8
from gpt2cli.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from gpt2cli.text.fast_encoder import FastEncoder
    from gpt2cli.text.stored.long_runs import LongRuns

InvalidBytes = Literal["strict", "replace", "keep"]

# From here on the fast library wins, although it takes a third of a second to start.
FAST_FROM_BYTES = 512 << 10
# Each call of `tokenizers` costs as much as this many bytes of text.
_CALL_BYTES = 32
_SHORT, _MOST_SHORT = 4, 1 << 16
# The characters that stand for bytes that are not UTF-8.
_INVALID = re.compile("([\udc80-\udcff])")


class StreamEncoder:
    """An encoder of byte streams, block by block.

    Bytes that are not UTF-8 are an error (strict), become U+FFFD (replace), or each become the token
    of that byte, as if the text ended before it and began again after it (keep).
    """

    def __init__(self, tokenizer: Tokenizer, special: bool = False, invalid: InvalidBytes = "strict") -> None:
        self._tokenizer = tokenizer
        self._special = special
        self._invalid = invalid
        self._work = 0
        self._fast: FastEncoder | None = None
        self._within_run = False
        # Between bytes that are not text, the same few characters come again and again.
        self._encode_short = lru_cache(_MOST_SHORT)(self._encode_by_library)
        self._byte_id = cache(tokenizer.byte_id)

    def encode(self, chunks: Iterable[bytes], name: str) -> Iterator[array[int]]:
        """Yield the ids of a source as unsigned 32-bit integers; `name` is for messages.

        Raises:
            InputError: the bytes are not UTF-8 but must be; earlier blocks may have been yielded.
            CheckpointError: the tokenizer produced an id that the model does not have.
        """
        offset = 0
        for block in self._blocks(chunks, name):
            yield self._encode_block(block, name, offset)
            offset += len(block.data)

    def _blocks(self, chunks: Iterable[bytes], name: str) -> Iterable[Block]:
        if not self._tokenizer.cuttable:
            # Its ids depend on the whole text.
            return [Block(b"".join(within(chunks, name, MOST_HELD)), True)]
        # An added token in the text may contain both letters and punctuation.
        return cut_blocks(chunks, self._special or self._tokenizer.has_own_tokens, self._reads_runs)

    def _reads_runs(self) -> bool:
        return self._long_runs is not None

    @cached_property
    def _long_runs(self) -> LongRuns | None:
        return self._tokenizer.open_long_runs(self._encode_text, self._special)

    def _encode_block(self, block: Block, name: str, offset: int) -> array[int]:
        text = self._decode(block.data, name, offset)
        is_cut = self._within_run or not block.is_whole
        if not self._fast:
            self._get_ready(len(block.data) + _CALL_BYTES * len(self._stretches(text)))
        if self._fast and not is_cut:
            return self._fast.encode(text)
        return self._encode_long(text, block.is_whole) if is_cut else self._encode_slowly(text)

    def _encode_long(self, text: str, is_whole: bool) -> array[int]:
        """Return the ids of a block that begins or ends within a run; they may come with a later block."""
        assert self._long_runs is not None
        ids = array("I")
        for n, stretch in enumerate(self._stretches(text)):
            if n % 2:
                ids += self._long_runs.finish()
                ids.append(self._byte_id(ord(stretch) - 0xDC00))
            else:
                ids += self._long_runs.push(stretch)
        self._within_run = not is_whole
        return ids + self._long_runs.finish() if is_whole else ids

    def _encode_slowly(self, text: str) -> array[int]:
        ids = array("I")
        for n, stretch in enumerate(self._stretches(text)):
            if n % 2:
                ids.append(self._byte_id(ord(stretch) - 0xDC00))
            elif stretch:
                ids += (self._encode_by_library if len(stretch) > _SHORT else self._encode_short)(stretch)
        return ids

    def _decode(self, data: bytes, name: str, offset: int) -> str:
        """Return the text of a block, in which lone surrogates are bytes to keep."""
        if self._invalid == "strict":
            return decode_utf8(data, name, offset)
        return data.decode("utf-8", "surrogateescape" if self._invalid == "keep" else "replace")

    def _stretches(self, text: str) -> Sequence[str]:
        """Return a text in stretches, of which every second is a byte that is not UTF-8."""
        return _INVALID.split(text) if self._invalid == "keep" else [text]

    def _get_ready(self, work: int) -> None:
        if self._work <= FAST_FROM_BYTES < self._work + work:
            keeps_bytes = self._invalid == "keep"
            self._fast = self._tokenizer.open_fast_encoder(self._encode_slowly, self._special, keeps_bytes)
        self._work += work

    def _encode_text(self, text: str) -> array[int]:
        return self._fast.encode(text) if self._fast else self._encode_by_library(text)

    def _encode_by_library(self, text: str) -> array[int]:
        return array("I", self._tokenizer.encode(text, self._special))


# White space separates ids, as do the brackets and commas of a JSON list.
_TO_SPACES = bytes.maketrans(b"[],", b"   ")
_DIGITS_AND_SPACES = b"0123456789 \t\n\r\f\v"
_SPACE = re.compile(rb"(?s:.*)[ \t\n\r\f\v]")
# Python refuses to parse numbers with thousands of digits.
_LONGEST_ID = 9


def read_ids(chunks: Iterable[bytes], name: str) -> Iterator[array[int]]:
    """Yield the ids in a source of decimal numbers; `name` is for messages.

    Raises:
        InputError: the text contains anything else; earlier ids may have been yielded.
    """
    pending = b""
    for chunk in chunks:
        pending += chunk.translate(_TO_SPACES)
        whole = _SPACE.match(pending)
        end = whole.end() if whole else 0
        yield _parse_ids(pending[:end], name)
        pending = pending[end:]
        if len(pending) > _LONGEST_ID:
            break
    yield _parse_ids(pending, name)


def first_ids(blocks: Iterable[array[int]], limit: int | None) -> Iterator[array[int]]:
    """Yield ids up to a limit, reading no further than needed; None means no limit."""
    if limit is None:
        yield from blocks
        return
    for ids in blocks:
        yield ids[:limit]
        limit -= len(ids)
        if limit <= 0:
            return


def _parse_ids(text: bytes, name: str) -> array[int]:
    words = text.split()
    if text.translate(None, _DIGITS_AND_SPACES) or max(map(len, words), default=0) > _LONGEST_ID:
        raise _not_an_id(next(word for word in words if not _is_id(word)), name)
    return array("I", map(int, words))


def _is_id(word: bytes) -> bool:
    return word.isdigit() and len(word) <= _LONGEST_ID


def _not_an_id(word: bytes, name: str) -> InputError:
    shown = word.decode("utf-8", "replace")[:40]
    return InputError(f"{name}: {shown!r} is not a token id.", "Ids are whole numbers.")
