"""What two models make of one text: their surprisals side by side, and how far their predictions differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.errors import Error, UsageError
from gpt2cli.generation.sampling import Scores, log_softmax
from gpt2cli.inspection.settings import DiffSettings
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.loading import LoadedModel
from gpt2cli.scoring.predictions import POSITIONS_AT_ONCE, Predictions
from gpt2cli.scoring.rows import in_unit, token_rows
from gpt2cli.scoring.scored_text import Text, scored_tokens, split_texts
from gpt2cli.scoring.streaming.id_blocks import reach_of
from gpt2cli.scoring.text_scorer import Scoring, open_scorer, open_scoring
from gpt2cli.scoring.windows import Scheme
from gpt2cli.scoring.words import WordRow, word_rows

Pair: TypeAlias = tuple[LoadedModel, LoadedModel]


@dataclass(frozen=True)
class TokenDifference:
    """A token under two models; `difference` is the second surprisal minus the first.

    `kl_divergence` of the second prediction from the first says how many bits or nats are lost on average
    if the second model's prediction stands in for the first one's. Values are None if nothing precedes the
    token. Places are in characters.
    """

    index: int
    text: str
    id: int
    start: int
    end: int
    surprisal_1: float | None
    surprisal_2: float | None
    difference: float | None
    kl_divergence: float | None


@dataclass(frozen=True)
class WordDifference:
    """A word under two models, whose tokens may differ; surprisals count the white space after the word.

    `difference` is the second surprisal minus the first.
    """

    index: int
    text: str
    start: int
    end: int
    surprisal_1: float | None
    surprisal_2: float | None
    difference: float | None
    tokens_1: int
    tokens_2: int


Difference: TypeAlias = TokenDifference | WordDifference


class Comparison:
    """Two models and a text that both score; `by` is token or word, and `metadata` says how they score.

    Raises:
        UsageError: the tokenizers differ and `by` is token, or a setting does not fit a model.
        InputError: the text is not Unicode.
    """

    def __init__(self, models: Pair, text: str, settings: DiffSettings) -> None:
        contexts = [loaded.model.config.n_positions for loaded in models]
        scoring = settings.scoring(min(contexts))
        (self.text,) = split_texts(text, None, settings.newlines)
        if not text:
            raise UsageError("The text is empty.")
        self._models = models
        self._special = settings.special
        self._scorings = [open_scoring(loaded, scoring) for loaded in models]
        self._scheme = open_scorer(models[0], scoring).scheme
        agree = _shared_ids(models, self.text.content, settings.special)
        if settings.by == "token" and not agree:
            names = " and ".join(loaded.files.name for loaded in models)
            raise UsageError(f"The tokenizers of {names} differ.", "Compare words: leave out `by`.")
        self.by = settings.by or ("token" if agree else "word")
        self.unit = settings.unit
        shared = {name: self._scorings[0].metadata[name] for name in ("unit", "bos", "window", "stride")}
        self.metadata: dict[str, Any] = {
            **{
                f"{name}_{number}": scoring.metadata[name]
                for number, scoring in enumerate(self._scorings, 1)
                for name in ("model", "revision")
            },
            **shared,
        }

    def rows(self) -> list[Difference]:
        """Return a row for each token or word.

        Raises:
            Error: a model produced NaN.
        """
        return list(self._tokens() if self.by == "token" else self._words())

    def summary(self, rows: Sequence[Difference]) -> str:
        """Return the means of rows on one line."""
        known = [row for row in rows if row.difference is not None]
        if not known:
            return f"no {self.by} is scored"
        ones, others = (
            math.fsum(getattr(row, name) for row in known) / len(known)
            for name in ("surprisal_1", "surprisal_2")
        )
        means = f"mean surprisal of a {self.by}: {ones:.3f} and {others:.3f} {self.unit}"
        divergences = [row.kl_divergence or 0.0 for row in known if isinstance(row, TokenDifference)]
        if divergences:
            means += f"; mean divergence {math.fsum(divergences) / len(known):.3f} {self.unit}"
        return means

    def _tokens(self) -> Iterator[TokenDifference]:
        first, second = self._models
        ids = first.tokenizer.encode(self.text.content, self._special)
        read = _read(self._models, ids, self._scheme)
        rows = [
            list(
                token_rows(scored_tokens(self.text, ids, windows, loaded.tokenizer, self._special), self.unit)
            )
            for loaded, windows in zip((first, second), (read.first, read.second), strict=True)
        ]
        for one, other, divergence in zip(*rows, read.divergences(len(ids)), strict=True):
            yield TokenDifference(
                one.index,
                one.text,
                one.id,
                one.start,
                one.end,
                one.surprisal,
                other.surprisal,
                _difference(one.surprisal, other.surprisal),
                None if divergence is None else in_unit(divergence, self.unit),
            )

    def _words(self) -> Iterator[WordDifference]:
        one, other = ([*_word_rows(scoring, self.text)] for scoring in self._scorings)
        for index, (ones, others) in enumerate(aligned(one, other), 1):
            surprisals = _total(ones), _total(others)
            yield WordDifference(
                index,
                " ".join(word.text for word in ones),
                ones[0].start,
                ones[-1].end,
                *surprisals,
                _difference(*surprisals),
                sum(word.tokens for word in ones),
                sum(word.tokens for word in others),
            )


def largest(rows: Sequence[Difference], count: int) -> list[Difference]:
    """Return the rows with the largest differences in either direction, the largest first."""
    known = [row for row in rows if row.difference is not None]
    return sorted(known, key=lambda row: -abs(row.difference or 0.0))[:count]


def aligned(
    ones: Sequence[WordRow], others: Sequence[WordRow]
) -> Iterator[tuple[list[WordRow], list[WordRow]]]:
    """Yield the words of two tokenizers that stand at the same place, joined where one has them as one."""
    rest = iter(others)
    group: list[WordRow] = []
    counterpart: list[WordRow] = []
    for one in ones:
        group.append(one)
        while not counterpart or counterpart[-1].end < one.end:
            following = next(rest, None)
            if following is None:
                break
            counterpart.append(following)
        if counterpart and counterpart[-1].end == one.end:
            yield group, counterpart
            group, counterpart = [], []
    if group and counterpart:
        yield group, [*counterpart, *rest]


@dataclass(frozen=True, eq=False, repr=False)
class _Read:
    first: list[Predictions]
    second: list[Predictions]
    kl: list[Scores]

    def divergences(self, tokens: int) -> list[float | None]:
        """Return the divergence at each token, in nats; None before the first prediction."""
        known = [float(value) for part in self.kl for value in part][: tokens - self.first[0].first]
        return [*[None] * (tokens - len(known)), *known]


def _read(models: Pair, ids: Sequence[int], scheme: Scheme) -> _Read:
    prefix = [] if scheme.bos_id is None else [scheme.bos_id]
    sequence = [*prefix, *ids]
    shared = min(loaded.model.config.vocab_size for loaded in models)
    read = _Read([], [], [])
    for window in scheme.windows(reach_of(len(sequence)), scheme.window, scheme.stride):
        inside = sequence[window.start : window.end]
        offset = window.first - 1 - window.start
        hidden = [_hidden(loaded, inside, offset) for loaded in models]
        targets = sequence[window.first : window.last]
        padded = np.array([*targets, *[0] * (window.last - window.first - len(targets))], np.int64)
        tables = [np.empty((4, len(padded))) for _ in models]
        kl = np.empty(len(padded), np.float32)
        for begin in range(0, len(padded), POSITIONS_AT_ONCE):
            part = slice(begin, begin + POSITIONS_AT_ONCE)
            logprobs = []
            for loaded, states, table in zip(models, hidden, tables, strict=True):
                ops = loaded.model.ops
                scores = logits(loaded.model, states[: len(padded)][part])
                logprobs.append(log_softmax(np.array(ops.to_numpy(scores)[:, :shared])))
                # Last, because this may overwrite the logits.
                table[:, part] = ops.token_statistics(scores, padded[part], None)
            kl[part] = _divergence(*logprobs)
        if any(np.isnan(table[0]).any() for table in tables):
            raise Error("A model produced NaN.", "Its weights may be damaged.")
        for found, table in zip((read.first, read.second), tables, strict=True):
            table[0, len(targets) :] = np.nan
            found.append(Predictions(window.first - len(prefix), *table))
        read.kl.append(kl[: len(targets)])
    return read


def _hidden(loaded: LoadedModel, ids: Sequence[int], offset: int) -> Any:
    model = loaded.model
    states: Any = hidden_states(model, model.ops.token_ids([ids]), first=offset)
    return states[0]


def _divergence(ones: Scores, others: Scores) -> Scores:
    """Return the Kullback-Leibler divergences (positions,) of the others from the ones, in nats."""
    divergences: Scores = (np.exp(ones, dtype=np.float64) * (ones - others)).sum(axis=-1)
    return np.maximum(divergences, 0.0)


def _shared_ids(models: Pair, content: str, special: bool) -> bool:
    """Return whether the ids of a text, and what all ids stand for, are the same for both models."""
    first, second = models
    one, other = (loaded.tokenizer.encode(content, special) for loaded in models)
    if list(one) != list(other) or first.tokenizer.bos_id != second.tokenizer.bos_id:
        return False
    count = min(loaded.model.config.vocab_size for loaded in models)
    data, other_data = first.tokenizer.token_bytes, second.tokenizer.token_bytes
    return all(data(token) == other_data(token) for token in range(count))


def _word_rows(scoring: Scoring, text: Text) -> Iterator[WordRow]:
    for _, _, tokens in scoring.scorer.tokens([(None, text)], words=True):
        yield from word_rows(tokens, scoring.unit)


def _total(words: Sequence[WordRow]) -> float | None:
    values = [word.surprisal_corrected for word in words]
    known = [value for value in values if value is not None]
    return math.fsum(known) if len(known) == len(values) else None


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else other - one
