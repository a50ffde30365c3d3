"""Texts scored with a model and its tokenizer, many at once or a long one window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Generic, TypeVar

from gpt2cli.model.model import Model
from gpt2cli.scoring.predictions import Predictions, Scheme, score_texts
from gpt2cli.scoring.rows import Summary, Totals, Unit
from gpt2cli.scoring.scored_text import ScoredToken, Text, scored_tokens
from gpt2cli.scoring.words import begins_word
from gpt2cli.text.tokenizer import Tokenizer

Key = TypeVar("Key")


@dataclass(frozen=True, eq=False)
class _Item(Generic[Key]):
    key: Key
    text: Text
    ids: Sequence[int]


@dataclass(frozen=True)
class TextScorer:
    """Score texts under a scheme; `room` bounds the positions that are read at once.

    The methods take texts under keys of any kind and yield them in the same order. What is yielded for one
    text must be used before the next is asked for.
    """

    model: Model[Any]
    tokenizer: Tokenizer
    scheme: Scheme
    room: int

    def windows(self, texts: Iterable[tuple[Key, Text]]) -> Iterator[tuple[Key, Text, Iterator[Predictions]]]:
        """Yield the windows that each text was scored in.

        Raises:
            ValueError, Error: as `score_texts` does.
        """
        for item, windows in self._score(texts, words=False):
            yield item.key, item.text, windows

    def tokens(
        self, texts: Iterable[tuple[Key, Text]], words: bool = False
    ) -> Iterator[tuple[Key, Text, Iterator[ScoredToken]]]:
        """Yield the tokens of each text; `words` has them tell where words begin and end.

        Raises:
            ValueError, Error: as `score_texts` does.
        """
        for item, windows in self._score(texts, words):
            yield item.key, item.text, scored_tokens(item.text, item.ids, windows, self.tokenizer)

    def summaries(self, texts: Iterable[tuple[Key, Text]], unit: Unit) -> Iterator[tuple[Key, Summary]]:
        """Yield the sums of each text.

        Raises:
            ValueError, Error: as `score_texts` does.
        """
        for key, _, tokens in self.tokens(texts):
            totals = Totals()
            for token in tokens:
                totals.add(token)
            yield key, totals.summary(unit)

    def _score(
        self, texts: Iterable[tuple[Key, Text]], words: bool
    ) -> Iterator[tuple[_Item[Key], Iterator[Predictions]]]:
        starts = begins_word(self.tokenizer, self.model.config.vocab_size) if words else None
        items = (_Item(key, text, self.tokenizer.encode(text.content)) for key, text in texts)
        keyed = ((item, item.ids) for item in items)
        scored = score_texts(self.model, keyed, self.scheme, self.room, starts)
        for item, group in groupby(scored, key=lambda pair: pair[0]):
            yield item, (predictions for _, predictions in group)
