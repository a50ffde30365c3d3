"""Rows of the tokens, words, lines or documents of files, of standard input or of an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from gpt2cli.cli.input.text import STDIN, argument_text, read_text
from gpt2cli.cli.options.scoring import Scoring
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.record import Record
from gpt2cli.cli.output.rows import RowOutput
from gpt2cli.errors import InputError

if TYPE_CHECKING:
    from gpt2cli.scoring.protocols import ProtocolTotals
    from gpt2cli.scoring.rows import Totals
    from gpt2cli.scoring.scored_text import ScoredToken, Split, Text

    Sum = Totals | ProtocolTotals
    Document = tuple[str | None, Text, Sum]

By = Literal["token", "word", "line", "document"]
TOTAL = "total"


class Sources:
    """Read texts one by one, a single one at once; of several, those that cannot be read are reported.

    Raises:
        InputError: the only one cannot be read.
    """

    def __init__(self, files: Sequence[str] | None, text: str | None) -> None:
        self.failed = False
        self.are_files = bool(files)
        self.are_several = files is not None and len(files) > 1
        self._files = files or [STDIN]
        self._only = None if self.are_several else self._read_only(text)

    def __iter__(self) -> Iterator[tuple[str | None, str]]:
        """Yield the names and the texts; what is no file has no name."""
        if self._only is not None:
            yield self._files[0] if self.are_files else None, self._only
            return
        for file in self._files:
            content = self._try_to_read(file)
            if content is not None:
                yield file, content

    def _try_to_read(self, file: str) -> str | None:
        try:
            return read_text(file)
        except InputError as error:
            Messages().note(f"Error: {error}")
            self.failed = True
            return None

    def _read_only(self, text: str | None) -> str:
        if text is not None:
            return argument_text(text, "--text")
        try:
            return read_text(self._files[0])
        except InputError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise InputError(error.message, "--text takes text itself.") from error
            raise


def score_sources(scoring: Scoring, sources: Sources, by: By, split: Split | None, output: RowOutput) -> None:
    """Write a row for each part of each source as it is scored, and totals of several documents."""
    from gpt2cli.scoring.scored_text import split_texts

    texts = ((name, text) for name, content in sources for text in split_texts(content, split))
    report = _Report(scoring, sources, split, by)
    if by == "document":
        records = report.documents(report.sums(texts))
        output.write_rows(scoring.metadata, report.columns, records)
        return
    # Other formats have no place for them, and a source may have very many.
    documents: list[Document] | None = [] if output.kind == "json" else None
    records = report.parts(texts, documents)
    output.write_rows(
        scoring.metadata, report.columns, records, lambda: {"documents": report.documents(documents or [])}
    )


class _Report:
    def __init__(self, scoring: Scoring, sources: Sources, split: Split | None, by: By) -> None:
        from gpt2cli.scoring.rows import LineRow, TextRow, TokenRow
        from gpt2cli.scoring.words import WordRow

        row_types: dict[By, type] = {"token": TokenRow, "word": WordRow, "line": LineRow, "document": TextRow}
        names = {"file": sources.are_files, "document": split is not None}
        self._names = [name for name, told in names.items() if told]
        self._scoring = scoring
        self._sources = sources
        self._split = split
        self._by = by
        self.columns = [*self._names, *(field.name for field in fields(row_types[by]))]

    def parts(
        self, texts: Iterable[tuple[str | None, Text]], documents: list[Document] | None
    ) -> Iterator[Record]:
        """Yield the records of tokens, words or lines, and add each text's sums to the documents."""
        from gpt2cli.scoring.rows import Totals, line_rows, token_rows
        from gpt2cli.scoring.words import word_rows

        unit = self._scoring.unit
        make_rows: dict[str, Callable[[Text, Iterator[ScoredToken]], Iterator[Any]]] = {
            "token": lambda _, tokens: token_rows(tokens, unit),
            "word": lambda _, tokens: word_rows(tokens, unit),
            "line": lambda text, tokens: line_rows(text, tokens, unit),
        }
        for name, text, tokens in self._scoring.scorer.tokens(texts, words=self._by == "word"):
            totals = Totals()
            prefix = self._prefix(name, text.number)
            for row in make_rows[self._by](text, _counted(tokens, totals)):
                yield {**prefix, **vars(row)}
            if documents is not None:
                documents.append((name, text, totals))

    def sums(self, texts: Iterable[tuple[str | None, Text]]) -> Iterator[Document]:
        """Yield the sums of each text."""
        if "protocol" in self._scoring.metadata:
            for name, text, windows in self._scoring.scorer.windows(texts):
                protocol = self._new_sum()
                protocol.add_text(text.content, windows)
                yield name, text, protocol
            return
        for name, text, tokens in self._scoring.scorer.tokens(texts):
            totals = self._new_sum()
            for token in tokens:
                totals.add(token)
            yield name, text, totals

    def documents(self, documents: Iterable[Document]) -> Iterator[Record]:
        """Yield a record for each text; then one for its file if that is split, and one for several files."""
        from gpt2cli.scoring.rows import text_row

        unit = self._scoring.unit
        overall = self._new_sum()
        for name, group in groupby(documents, key=lambda document: document[0]):
            whole = self._new_sum()
            for _, text, totals in group:
                yield {**self._prefix(name, text.number), **vars(text_row(text, totals.summary(unit)))}
                whole.add_totals(totals)
            if self._split:
                yield {**self._prefix(name, None), **vars(whole.summary(unit))}
            overall.add_totals(whole)
        if self._sources.are_several:
            yield {**self._prefix(TOTAL, None), **vars(overall.summary(unit))}

    def _prefix(self, name: str | None, number: int | None) -> Mapping[str, Any]:
        values = {"file": name, "document": number}
        return {column: values[column] for column in self._names}

    def _new_sum(self) -> Any:
        from gpt2cli.scoring.protocols import ProtocolTotals
        from gpt2cli.scoring.rows import Totals

        protocol = self._scoring.metadata.get("protocol")
        return ProtocolTotals(protocol) if protocol else Totals()


def _counted(tokens: Iterable[ScoredToken], totals: Totals) -> Iterator[ScoredToken]:
    for token in tokens:
        totals.add(token)
        yield token
