"""The scores of items as records: their own columns, then those of a token, word, line, region or text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from gpt2cli.errors import UsageError
from gpt2cli.scoring.pairs.comparison import region_scores
from gpt2cli.scoring.pairs.sentences import Marked, Sentence
from gpt2cli.scoring.report import ROW_TYPES, TEXT_COLUMNS
from gpt2cli.scoring.rows import Totals, line_rows, row_columns, row_record, text_row, token_rows
from gpt2cli.scoring.scored_text import ScoredToken, Text
from gpt2cli.scoring.settings import ItemBy
from gpt2cli.scoring.studies.items import Item
from gpt2cli.scoring.text_scorer import Scoring
from gpt2cli.scoring.words import word_rows

Record: TypeAlias = Mapping[str, Any]

REGION_COLUMNS = ("region", "label", "text", "start", "end", "surprisal")
# Before what a column of an item is called that a score has a name for.
CARRIED = "item_"


@dataclass(frozen=True)
class ItemScores:
    """Records of items, a row for each token, word, line, region or text of them."""

    scoring: Scoring
    by: ItemBy

    def columns(self, carried: Sequence[str]) -> list[str]:
        """Return the names of a record's values, those that items carry first."""
        return [*self._carried_names(carried).values(), *self._own]

    def records(self, items: Iterable[Item]) -> Iterator[Record]:
        """Yield the records of items as they are scored.

        Raises:
            UsageError: a region begins or ends within a token.
            InputError: a text is not Unicode.
            Error: the model produced NaN.
        """
        names: dict[str, str] = {}
        texts = ((item, Text(item.before + item.text)) for item in items)
        for item, _, tokens in self.scoring.scorer.tokens(texts, words=self.by == "word"):
            if len(names) < len(item.columns):
                names = self._carried_names(list(item.columns))
            carried = {names[name]: value for name, value in item.columns.items()}
            for index, record in enumerate(self._rows(item, own_tokens(item, tokens))):
                if item.words:
                    carried = {names[name]: value for name, value in item.words[index].items()}
                yield {**carried, **record}

    @property
    def _own(self) -> Sequence[str]:
        if self.by == "region":
            return REGION_COLUMNS
        return row_columns(ROW_TYPES[self.by], TEXT_COLUMNS.get(self.by, "text"))

    def _carried_names(self, carried: Sequence[str]) -> dict[str, str]:
        taken = {*self._own, *self.scoring.metadata}
        return {name: f"{CARRIED}{name}" if name in taken else name for name in carried}

    def _rows(self, item: Item, tokens: Iterator[ScoredToken]) -> Iterator[Record]:
        unit = self.scoring.unit
        if self.by == "region":
            yield from self._region_rows(item, list(tokens))
            return
        text = Text(item.text)
        if self.by == "document":
            totals = Totals()
            for token in tokens:
                totals.add(token)
            yield vars(text_row(text, totals.summary(unit)))
            return
        rows: Iterable[Any] = token_rows(tokens, unit)
        if self.by == "word":
            rows = word_rows(tokens, unit, self.scoring.punctuation)
        elif self.by == "line":
            rows = line_rows(text, tokens, unit)
        for row in rows:
            record = row_record(row, TEXT_COLUMNS.get(self.by, "text"))
            # The space of a first token may stand before the text.
            yield record | {name: max(record[name], 0) for name in ("start", "byte_start")}

    def _region_rows(self, item: Item, tokens: Sequence[ScoredToken]) -> Iterator[Record]:
        marked = item.marked or Marked(item.text, ((0, len(item.text)),), (None,))
        sentence = Sentence("", "", Text(item.text), marked.regions, 0, marked.labels)
        try:
            scores = list(region_scores(sentence, tokens, self.scoring.unit))
        except UsageError as error:
            raise UsageError(f"{item.place}: {error.message.partition(': ')[2]}", error.hint) from error
        for score, (start, end) in zip(scores, marked.regions, strict=True):
            yield {name: getattr(score, name) for name in REGION_COLUMNS if hasattr(score, name)} | {
                "start": start,
                "end": end,
            }


def own_tokens(item: Item, tokens: Iterable[ScoredToken]) -> Iterator[ScoredToken]:
    """Yield the tokens of an item's text, with places in it; white space before it belongs to the first.

    A token that begins in the context and ends in the text belongs to the text.
    """
    before = item.before
    if not before:
        yield from tokens
        return
    own = (token for token in tokens if token.end > len(before.rstrip()))
    characters, size = len(before), len(before.encode())
    for index, token in enumerate(own, 1):
        yield replace(
            token,
            index=index,
            start=token.start - characters,
            end=token.end - characters,
            byte_start=token.byte_start - size,
            byte_end=token.byte_end - size,
        )
