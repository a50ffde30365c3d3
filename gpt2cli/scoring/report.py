"""Scores of texts as rows: of tokens, words, lines or documents, with sums of files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from gpt2cli.scoring.protocols import ProtocolTotals
from gpt2cli.scoring.rows import (
    LineRow,
    TextRow,
    TokenRow,
    Totals,
    line_rows,
    row_columns,
    row_record,
    text_row,
    token_rows,
)
from gpt2cli.scoring.scored_text import ScoredToken, Text, split_texts
from gpt2cli.scoring.settings import By, ScoringSettings, Split
from gpt2cli.scoring.streaming.streamed_text import Content, StreamedText
from gpt2cli.scoring.text_scorer import Scoring, open_scoring
from gpt2cli.scoring.words import WordRow, word_rows
from gpt2cli.text.reading.newlines import Newlines

if TYPE_CHECKING:
    from gpt2cli.model.loading import LoadedModel

Row: TypeAlias = TokenRow | WordRow | LineRow | TextRow
PartRow: TypeAlias = TokenRow | WordRow | LineRow
Record: TypeAlias = Mapping[str, Any]
NamedText: TypeAlias = tuple[str | None, Text]

ROW_TYPES: dict[By, type[Row]] = {"token": TokenRow, "word": WordRow, "line": LineRow, "document": TextRow}
# What a record calls the field `text` of a row, because a table may be joined with others.
TEXT_COLUMNS = {"token": "token", "word": "word"}
TOTAL = "total"


class Document(NamedTuple):
    """A text, the name of its file if it has one, and its sums."""

    name: str | None
    text: Text
    totals: Any


def score_rows(loaded: LoadedModel, text: str, settings: ScoringSettings) -> list[Row]:
    """Score a text and return a row for each token, word or line, or one for the whole text.

    Raises:
        UsageError: a setting does not fit the model, or `by` the protocol.
        InputError: the text is not Unicode.
        Error: the model produced NaN.
    """
    report = Report(open_scoring(loaded, settings), settings.rows_by(settings.by))
    (whole,) = split_texts(text, None, settings.newlines)
    source = (None, whole)
    if report.by == "document":
        return [report.text_row(document) for document in report.sums([source])]
    return [row for _, _, _, rows in report.parts([source]) for row in rows]


@dataclass
class Report:
    """Records of scores, a row for each token, word, line or document.

    `split` divides sources into documents. A record names its source if `has_files`; rows of documents end
    in a total if `has_total`. `keeps_documents` keeps the sums of documents for `extra`; there may be many.
    `newlines` is that of `ScoringSettings`.
    """

    scoring: Scoring
    by: By = "token"
    split: Split | None = None
    has_files: bool = False
    has_total: bool = False
    keeps_documents: bool = False
    newlines: Newlines | None = None
    _documents: list[Document] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """Return the names of a record's values."""
        return [*self._places, *row_columns(ROW_TYPES[self.by], TEXT_COLUMNS.get(self.by, "text"))]

    def records(self, sources: Iterable[tuple[str | None, Content]]) -> Iterator[Record]:
        """Yield the records of named sources as they are scored.

        Raises:
            UsageError: a text does not fit the protocol.
            InputError: a text is not Unicode.
            Error: the model produced NaN.
        """
        texts = ((name, text) for name, content in sources for text in self._texts(content))
        if self.by == "document":
            yield from self._document_records(self.sums(texts))
            return
        column = TEXT_COLUMNS.get(self.by, "text")
        for name, text, totals, rows in self.parts(texts):
            place = self._place(name, text.number)
            for row in rows:
                yield {**place, **row_record(row, column)}
            if self.keeps_documents:
                self._documents.append(Document(name, text, totals))

    def _texts(self, content: Content) -> Iterable[Text]:
        reads_parts = self.split is None and self.by != "line" and self.scoring.scorer.reads_parts
        if reads_parts and not isinstance(content, str):
            return [StreamedText(content, self.newlines)]
        return split_texts(content, self.split, self.newlines)

    def extra(self) -> dict[str, Iterable[Record]]:
        """Return the records of the documents that were kept, where the rows are parts of these."""
        return {} if self.by == "document" else {"documents": self._document_records(self._documents)}

    def parts(
        self, texts: Iterable[NamedText]
    ) -> Iterator[tuple[str | None, Text, Totals, Iterator[PartRow]]]:
        """Yield each text with its rows, and with totals that are complete once the rows were read."""
        unit, punctuation = self.scoring.unit, self.scoring.punctuation
        rows_of: dict[str, Callable[[Text, Iterator[ScoredToken]], Iterator[PartRow]]] = {
            "token": lambda _, tokens: token_rows(tokens, unit),
            "word": lambda _, tokens: word_rows(tokens, unit, punctuation),
            "line": lambda text, tokens: line_rows(text, tokens, unit),
        }
        for name, text, tokens in self.scoring.scorer.tokens(texts, words=self.by == "word"):
            totals = Totals()
            yield name, text, totals, rows_of[self.by](text, _counted(tokens, totals))

    def sums(self, texts: Iterable[NamedText]) -> Iterator[Document]:
        """Yield the sums of each text."""
        if "protocol" in self.scoring.metadata:
            for name, text, windows in self.scoring.scorer.windows(texts):
                protocol = self._new_sum()
                protocol.add_text(text, windows)
                yield Document(name, text, protocol)
            return
        for name, text, tokens in self.scoring.scorer.tokens(texts):
            totals = self._new_sum()
            for token in tokens:
                totals.add(token)
            yield Document(name, text, totals)

    def text_row(self, document: Document) -> TextRow:
        """Return the row of a document."""
        return text_row(document.text, document.totals.summary(self.scoring.unit))

    def _document_records(self, documents: Iterable[Document]) -> Iterator[Record]:
        """Yield a record for each text, then one for its file if that is split, and one for all files."""
        unit = self.scoring.unit
        overall = self._new_sum()
        for name, group in groupby(documents, key=lambda document: document[0]):
            whole = self._new_sum()
            for document in group:
                yield {**self._place(name, document.text.number), **vars(self.text_row(document))}
                whole.add_totals(document.totals)
            if self.split:
                yield {**self._place(name, None), **vars(whole.summary(unit))}
            overall.add_totals(whole)
        if self.has_total:
            yield {**self._place(TOTAL, None), **vars(overall.summary(unit))}

    @property
    def _places(self) -> list[str]:
        present = {"file": self.has_files, "document": self.split is not None}
        return [name for name, is_present in present.items() if is_present]

    def _place(self, name: str | None, number: int | None) -> Record:
        values = {"file": name, "document": number}
        return {column: values[column] for column in self._places}

    def _new_sum(self) -> Any:
        protocol = self.scoring.metadata.get("protocol")
        return ProtocolTotals(protocol) if protocol else Totals()


def _counted(tokens: Iterable[ScoredToken], totals: Totals) -> Iterator[ScoredToken]:
    for token in tokens:
        totals.add(token)
        yield token
