"""Texts, and their tokens with places and predictions."""

from __future__ import annotations

import math
import re
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat, tee
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from gpt2cli.scoring.settings import Split
from gpt2cli.scoring.streaming.documents import separated, split_lines
from gpt2cli.text.reading.limits import MOST_HELD, within
from gpt2cli.text.reading.newlines import CRLF, Newlines, with_lf

if TYPE_CHECKING:
    from gpt2cli.scoring.predictions import Predictions
    from gpt2cli.text.tokenizer import Tokenizer

_GAP = re.compile(r"\s+")


class Size(NamedTuple):
    """The size of a text: its characters, its bytes of UTF-8, and the runs of white space in it."""

    characters: int = 0
    bytes: int = 0
    gaps: int = 0
    ends_in_gap: bool = False

    def plus(self, part: str) -> Size:
        """Return the size of a text that goes on with a part."""
        if not part:
            return self
        gaps = len(_GAP.findall(part)) - (self.ends_in_gap and part[0].isspace())
        return Size(
            self.characters + len(part),
            self.bytes + len(part.encode()),
            self.gaps + gaps,
            part[-1].isspace(),
        )


@dataclass(frozen=True, eq=False)
class Text:
    """A text that is scored on its own, and its place in its source.

    `number` counts the texts or lines of a source from 1; `start` is in characters, `byte_start` in bytes of
    UTF-8. `crlf` are the places in the content, in order, of each LF that is CR LF in the source.
    """

    # Whether it comes in parts, and the content is empty.
    is_streamed: ClassVar[bool] = False
    content: str
    number: int = 1
    start: int = 0
    byte_start: int = 0
    crlf: Sequence[int] = ()

    def parts(self) -> Iterable[str]:
        """Yield the content in parts, once."""
        return [self.content]

    def size(self) -> Size:
        """Return the size of the content, all parts of which have been read."""
        return Size().plus(self.content)

    def shift(self, place: int) -> int:
        """Return how many characters the source has beyond the content before a place in the content."""
        return bisect_left(self.crlf, place)

    def with_lf(self) -> Text:
        """Return the text with each CR LF replaced by LF; its tokens keep their places in the source."""
        if CRLF not in self.content:
            return self
        found = re.finditer(CRLF, self.content)
        crlf = [match.start() - number for number, match in enumerate(found)]
        return replace(self, content=with_lf(self.content), crlf=crlf)


@dataclass(frozen=True)
class ScoredToken:
    """A token's place and its prediction, in nats; None if nothing precedes it.

    Places are those in the source. The parts of a split character share its place. `word_start` and
    `word_end` are the log-probabilities that a word begins with this token and with the next; the end of the
    text counts as a word. `crlf_before` and `crlf_behind` count the LF that are CR LF in the source, in the
    white space that begins and that ends the data.
    """

    index: int
    id: int
    data: bytes
    start: int
    end: int
    byte_start: int
    byte_end: int
    logprob: float | None
    entropy: float | None
    rank: int | None
    word_start: float | None
    word_end: float | None
    crlf_before: int = 0
    crlf_behind: int = 0


def split_texts(
    content: str | Iterable[str], split: Split | None, newlines: Newlines | None = None
) -> Iterator[Text]:
    """Yield the texts of a source: the whole, its nonempty lines, or what lines of <|endoftext|> separate.

    Line ends are not part of a text when split by lines; separators never are. CR LF in a text becomes LF
    if `newlines` says so. Of a source in parts, only one text is held.

    Raises:
        InputError: a text in parts is longer than can be held.
    """
    for text in _split([content] if isinstance(content, str) else content, split):
        yield text.with_lf() if newlines == "lf" else text


def _split(parts: Iterable[str], split: Split | None) -> Iterator[Text]:
    if split is None:
        yield Text("".join(within(parts, "the text", MOST_HELD)))
        return
    number = position = bytes_before = 0
    documents = split_lines(parts) if split == "line" else separated(split_lines(parts))
    for document, end in documents:
        # The number of a line is that in its file, where empty ones count.
        number += bool(document) or split == "line"
        if document:
            yield Text(document, number, position, bytes_before)
        position += len(document) + len(end)
        bytes_before += len(document.encode()) + len(end)


class _Prediction(NamedTuple):
    logprob: float | None
    entropy: float | None
    rank: int | None
    word_start: float | None


_NONE = _Prediction(None, None, None, None)


def scored_tokens(
    text: Text,
    ids: Iterable[int],
    windows: Iterable[Predictions],
    tokenizer: Tokenizer,
    special: bool = False,
) -> Iterator[ScoredToken]:
    """Yield the tokens of a text in order, scoring windows as they are needed.

    `special` is whether special tokens in the text were parsed. Where a tokenizer changes a text, to lower
    case or otherwise, the data of a token is what stands at its place in the text as given, with the spaces
    before it and the line ends behind it.
    """
    predictions = chain(_each(windows), repeat(_NONE))
    current = next(predictions)
    for index, (token_id, place) in enumerate(_placed(text, ids, tokenizer, special), 1):
        following = next(predictions)
        data = place.data
        before, after = text.shift(place.start), text.shift(place.end)
        first, last = place.start + len(data) - len(data.lstrip()), place.end - len(data) + len(data.rstrip())
        yield ScoredToken(
            index,
            token_id,
            data,
            text.start + place.start + before,
            text.start + place.end + after,
            text.byte_start + place.byte_start + before,
            text.byte_start + place.byte_start + len(data) + after,
            current.logprob,
            current.entropy,
            current.rank,
            current.word_start if index > 1 else _first_word_start(current, tokenizer.begins_word(token_id)),
            following.word_start,
            text.shift(first) - before,
            after - text.shift(last),
        )
        current = following


class _Place(NamedTuple):
    data: bytes
    start: int
    end: int
    byte_start: int


def _placed(
    text: Text, ids: Iterable[int], tokenizer: Tokenizer, special: bool
) -> Iterator[tuple[int, _Place]]:
    """Yield each id with the bytes of the token, and its place in the content in characters."""
    if text.is_streamed:
        ids, again = tee(ids)
        yield from zip(ids, _counted(map(tokenizer.token_bytes, again)), strict=True)
        return
    ids = list(ids)
    yield from zip(ids, _places(text, ids, tokenizer, special), strict=True)


def _places(text: Text, ids: Sequence[int], tokenizer: Tokenizer, special: bool) -> Iterator[_Place]:
    pieces = list(_own_bytes(text.content.encode(), ids, tokenizer))
    if b"".join(pieces) != text.content.encode():
        places = tokenizer.places(text.content, special)
        if len(places) == len(ids):
            yield from _given(text.content, places)
            return
    yield from _counted(pieces)


def _counted(pieces: Iterable[bytes]) -> Iterator[_Place]:
    """Yield the places of tokens whose bytes follow one another."""
    characters = position = 0
    for data in pieces:
        begun = sum(byte & 0xC0 != 0x80 for byte in data)
        continues = bool(data) and data[0] & 0xC0 == 0x80
        yield _Place(data, characters - continues, characters + begun, position)
        characters += begun
        position += len(data)


def _own_bytes(content: bytes, ids: Iterable[int], tokenizer: Tokenizer) -> Iterator[bytes]:
    """Yield the bytes of each token without a space that the tokenizer put before it."""
    position = 0
    for data in map(tokenizer.token_bytes, ids):
        if data[:1] == b" " and tokenizer.adds_space and content[position : position + 1] != b" ":
            data = data[1:]
        yield data
        position += len(data)


def _given(content: str, places: Sequence[tuple[int, int]]) -> Iterator[_Place]:
    """Yield what stands at each place, with what the tokenizer dropped before and behind it."""
    starts = [*(start for start, _ in places), len(content)][1:]
    last = _before_spaces(content, 0, places[0][0]) if places else 0
    byte_start = len(content[:last].encode())
    for (start, end), following in zip(places, starts, strict=True):
        behind = max(_before_spaces(content, end, following), last)
        data = content[last:behind].encode()
        yield _Place(data, min(start, last), behind, byte_start)
        byte_start += len(data)
        last = behind


def _before_spaces(content: str, start: int, end: int) -> int:
    """Return where the spaces before a token begin; line ends and other dropped text are not among them."""
    return start + len(content[start:end].rstrip(" \t\v\f\r"))


def _first_word_start(prediction: _Prediction, is_marked: bool) -> float | None:
    """Return the log-probability that a text begins as it does: with a word that is marked as one, or not."""
    if is_marked or prediction.word_start is None:
        return prediction.word_start
    return math.log(max(-math.expm1(prediction.word_start), sys.float_info.min))


def _each(windows: Iterable[Predictions]) -> Iterator[_Prediction]:
    index = 0
    for window in windows:
        while index < window.first:
            yield _NONE
            index += 1
        columns = (window.logprobs, window.entropies, window.ranks, window.word_starts)
        for logprob, entropy, rank, word_start in zip(*(column.tolist() for column in columns), strict=True):
            yield _Prediction(logprob, entropy, int(rank), word_start)
            index += 1
