"""Scores of tokens, lines, whole texts and what may follow them, in bits or nats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from gpt2cli.scoring.scored_text import ScoredToken, Text
from gpt2cli.scoring.settings import Unit
from gpt2cli.scoring.streaming.documents import lines_of, without_line_end
from gpt2cli.text.token_text import token_text

NATS_PER: dict[Unit, float] = {"bits": math.log(2), "nats": 1.0}


@dataclass(frozen=True)
class TokenRow:
    """The score of a token; None if nothing precedes it. Rank 1 is the likeliest token.

    The text of a token that is not valid UTF-8 alone is `bytes:` and its bytes as \\xNN. The place is in
    characters and in bytes of UTF-8; ends are exclusive.
    """

    index: int
    text: str
    id: int
    start: int
    end: int
    byte_start: int
    byte_end: int
    surprisal: float | None
    probability: float | None
    entropy: float | None
    rank: int | None


@dataclass(frozen=True)
class Span:
    """A place in characters and in bytes of UTF-8; ends are exclusive."""

    start: int
    end: int
    byte_start: int
    byte_end: int


@dataclass(frozen=True)
class Summary:
    """The sums of many tokens; `tokens`, `words` and `bytes` count what was scored.

    A value is None if nothing was scored, or if it exceeds a float.
    """

    surprisal: float | None
    mean_surprisal: float | None
    tokens: int
    words: int | None
    bytes: int | None
    perplexity: float | None
    word_perplexity: float | None
    bits_per_byte: float | None


@dataclass(frozen=True)
class TextRow(Summary, Span):
    """The score of a whole text."""


@dataclass(frozen=True)
class _Line:
    line: int
    text: str


@dataclass(frozen=True)
class LineRow(Summary, Span, _Line):
    """The score of a line; `text` is without the line end. A token belongs to the line it begins in."""


class NextText(NamedTuple):
    """A continuation and its probability."""

    text: str
    probability: float


@dataclass(frozen=True)
class NextToken:
    """A likely next token; place 1 is the likeliest.

    The text of a token that is not valid UTF-8 alone is `bytes:` and its bytes as \\xNN.
    """

    place: int
    text: str
    id: int
    probability: float
    surprisal: float


@dataclass(frozen=True)
class Candidate:
    """A given continuation of one token or more; place 1 is the likeliest."""

    place: int
    text: str
    tokens: int
    probability: float
    surprisal: float


class Totals:
    """The sums of consecutive tokens."""

    def __init__(self) -> None:
        self.nats = 0.0
        self.tokens = 0
        self.words = 0
        self.bytes = 0
        self._within_word = False

    def add(self, token: ScoredToken) -> None:
        """Add the next token; one without a score does not count."""
        data = token.data
        if token.logprob is not None:
            self.nats -= token.logprob
            self.tokens += 1
            self.bytes += len(data)
            self.words += len(data.split()) - (self._within_word and not data[:1].isspace())
        self._within_word = not data[-1:].isspace()

    def add_totals(self, other: Totals) -> None:
        """Add all tokens of other totals."""
        self.nats += other.nats
        self.tokens += other.tokens
        self.words += other.words
        self.bytes += other.bytes

    def summary(self, unit: Unit) -> Summary:
        """Return the sums and their ratios."""
        return Summary(
            surprisal=in_unit(self.nats, unit) if self.tokens else None,
            mean_surprisal=in_unit(self.nats / self.tokens, unit) if self.tokens else None,
            tokens=self.tokens,
            words=self.words,
            bytes=self.bytes,
            perplexity=exponential(self.nats, self.tokens),
            word_perplexity=exponential(self.nats, self.words),
            bits_per_byte=self.nats / self.bytes / math.log(2) if self.bytes else None,
        )


def row_columns(row_type: Any, text: str = "text") -> list[str]:
    """Return the names of a row's values, that of `text` replaced."""
    return [text if column.name == "text" else column.name for column in fields(row_type)]


def row_record(row: Any, text: str = "text") -> dict[str, Any]:
    """Return a row's values by name, that of `text` replaced."""
    return {text if name == "text" else name: value for name, value in vars(row).items()}


def in_unit(nats: float, unit: Unit) -> float:
    """Return an amount of information in a unit."""
    return nats / NATS_PER[unit]


def exponential(nats: float, count: int) -> float | None:
    """Return the exponential of a mean; None if the count is 0 or the result exceeds a float."""
    try:
        return math.exp(nats / count)
    except (OverflowError, ZeroDivisionError):
        return None


def token_rows(tokens: Iterable[ScoredToken], unit: Unit) -> Iterator[TokenRow]:
    """Yield a row for each token."""
    scale = 1.0 / NATS_PER[unit]
    for token in tokens:
        logprob, entropy = token.logprob, token.entropy
        yield TokenRow(
            token.index,
            token_text(token.data),
            token.id,
            token.start,
            token.end,
            token.byte_start,
            token.byte_end,
            None if logprob is None else 0.0 - logprob * scale,
            None if logprob is None else math.exp(logprob),
            None if entropy is None else entropy * scale,
            token.rank,
        )


def line_rows(text: Text, tokens: Iterator[ScoredToken], unit: Unit) -> Iterator[LineRow]:
    """Yield a row for each line of a text, including lines in which no token begins."""
    place = bytes_before = 0
    token = next(tokens, None)
    for number, line in enumerate(lines_of(text.content), 1):
        end = text.start + place + len(line) + text.shift(place + len(line))
        totals = Totals()
        while token and token.start < end:
            totals.add(token)
            token = next(tokens, None)
        shown = without_line_end(line)
        span = _span(text, place, shown, bytes_before)
        yield LineRow(number, shown, *span, **vars(totals.summary(unit)))
        place, bytes_before = place + len(line), bytes_before + len(line.encode())


def text_row(text: Text, summary: Summary) -> TextRow:
    """Return the row of a whole text."""
    size, line_ends = text.size(), len(text.crlf)
    return TextRow(
        text.start,
        text.start + size.characters + line_ends,
        text.byte_start,
        text.byte_start + size.bytes + line_ends,
        **vars(summary),
    )


def _span(text: Text, place: int, part: str, bytes_before: int) -> tuple[int, int, int, int]:
    """Return the start, end, byte_start and byte_end in the source of a part of a text."""
    before, after = text.shift(place), text.shift(place + len(part))
    start, byte_start = text.start + place, text.byte_start + bytes_before
    return (
        start + before,
        start + len(part) + after,
        byte_start + before,
        byte_start + len(part.encode()) + after,
    )
