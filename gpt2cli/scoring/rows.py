"""Scores of tokens, lines and whole texts, in bits or nats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gpt2cli.generation.completion import token_text
from gpt2cli.scoring.scored_text import ScoredToken, Text, lines_of, without_line_end
from gpt2cli.scoring.settings import Unit

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
    start, byte_start = text.start, text.byte_start
    token = next(tokens, None)
    for number, line in enumerate(lines_of(text.content), 1):
        end, byte_end = start + len(line), byte_start + len(line.encode())
        totals = Totals()
        while token and token.start < end:
            totals.add(token)
            token = next(tokens, None)
        shown = without_line_end(line)
        bounds = start, start + len(shown), byte_start, byte_start + len(shown.encode())
        yield LineRow(number, shown, *bounds, **vars(totals.summary(unit)))
        start, byte_start = end, byte_end


def text_row(text: Text, summary: Summary) -> TextRow:
    """Return the row of a whole text."""
    end, byte_end = text.start + len(text.content), text.byte_start + len(text.content.encode())
    return TextRow(text.start, end, text.byte_start, byte_end, **vars(summary))
