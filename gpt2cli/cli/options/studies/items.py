"""Options for tables of items, contexts and several models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2cli.cli.input.sources import Sources
from gpt2cli.cli.input.text import argument_text, is_file, read_text, source_name
from gpt2cli.cli.options.conflicts import conflicts_of, reject_conflicts
from gpt2cli.cli.options.rows import RowOptions, SelectionOptions, SourceOptions
from gpt2cli.cli.options.scoring import ProtocolOptions
from gpt2cli.cli.options.shared import MODEL, ModelOptions, Offline, model_names
from gpt2cli.errors import UsageError

if TYPE_CHECKING:
    from gpt2cli.scoring.studies.items import Item

ITEMS = "Items of a study"

_items = partial(typer.Option, rich_help_panel=ITEMS, show_default=False)


@dataclass(frozen=True, eq=False, repr=False)
class SeveralModels:
    """Which models to load, one after another, and whether they may be downloaded."""

    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            autocompletion=model_names,
            metavar="MODEL",
            show_default="gpt2 if here, else stories",
            rich_help_panel=MODEL,
            help="A name (gpt2, 355M), OWNER/NAME[@REVISION] on the Hub, a folder, a .safetensors or .gguf "
            "file; also set by GPT2_MODEL. May be repeated to compare.",
        ),
    ] = None
    offline: Offline = False

    @property
    def names(self) -> Sequence[str | None]:
        """The names of the models; None is the default one."""
        # An option that may be repeated would split a path with a space in it.
        return self.model or [os.environ.get("GPT2_MODEL") or None]

    def only(self) -> ModelOptions:
        """Return the options of the only model.

        Raises:
            UsageError: there are several.
        """
        if len(self.names) > 1:
            raise UsageError("--jsonl takes one model.", "Give -m once.")
        return self.each()[0]

    def each(self) -> list[ModelOptions]:
        """Return the options of each model."""
        return [ModelOptions(name, self.offline) for name in self.names]


@dataclass(frozen=True, eq=False, repr=False)
class StudyOptions:
    """What is an item, and what precedes it."""

    field: Annotated[
        str | None,
        _items("--field", metavar="NAME", help="Score this column of a table."),
    ] = None
    context: Annotated[
        str | None,
        _items("--context", metavar="TEXT|FILE", help="Read this first; do not score it."),
    ] = None
    context_field: Annotated[
        str | None, _items("--context-field", metavar="NAME", help="The column of each text's context.")
    ] = None
    group: Annotated[
        str | None,
        _items("--group", metavar="NAME", help="Column of what words are one text."),
    ] = None
    span: Annotated[
        str | None, _items("--span", metavar="START:END", help="Score only these characters.")
    ] = None

    @property
    def wanted(self) -> bool:
        """Whether there are items or a context."""
        return any(value is not None for value in vars(self).values())

    def check(
        self,
        draws: bool,
        source: SourceOptions,
        rows: RowOptions,
        selection: SelectionOptions,
        settings: ProtocolOptions,
    ) -> None:
        """Check that the options go together, and with the others of `score`.

        Raises:
            UsageError: they do not.
        """
        others = {
            "--filter": selection.keep is not None,
            "--view": selection.view or draws,
            "--protocol": settings.protocol is not None,
        }
        named = {"--field": self.field, "--context": self.context}
        unnamed = "--by region" if rows.by == "region" else "A second -m"
        given = next((name for name, value in named.items() if value is not None), unnamed)
        if self.field is not None:
            others |= {"--text": source.text is not None, "--split": rows.split is not None}
        reject_conflicts({given: True, **others}, conflicts_of(given, others))
        for_tables = {"--context-field": self.context_field, "--span": self.span, "--group": self.group}
        for name, value in for_tables.items():
            if value is not None and self.field is None:
                raise UsageError(f"{name} is for a table.", "Name the column of its texts with --field.")
        if self.group and settings.punctuation == "apart":
            raise UsageError("--group has words of its own.", "Leave out --punctuation.")
        if self.group and (self.context_field or self.span or rows.by != "word"):
            raise UsageError(
                "--group gives a row to each word.", "Use --by word, without --span or --context-field."
            )

    def refuse(self, other: str) -> None:
        """Check that no option is given; `other` is one that excludes them all.

        Raises:
            UsageError: one is.
        """
        given = {f"--{name.replace('_', '-')}": value is not None for name, value in vars(self).items()}
        reject_conflicts({**given, other: True}, [(name, other) for name in given])

    def items(
        self,
        source: SourceOptions,
        rows: RowOptions,
        settings: ProtocolOptions,
        note: Callable[[str], None],
    ) -> tuple[list[Item], bool]:
        """Return the items of tables, or of the texts that there are instead, and whether one is missing.

        Raises:
            UsageError, InputError: as `items_of` does; InputError also if a file cannot be read.
        """
        from gpt2cli.scoring.studies.items import ItemColumns, items_of, marked_item, parse_span
        from gpt2cli.text.reading.tables import read_table

        source.require()
        context = self.shared_context(note)
        names, by_region = source.names(note), rows.by == "region"
        if self.field is None:
            sources = source.open(names)
            texts = [
                marked_item(text, context, places, by_region)
                for text, places in _texts(sources, rows, settings)
            ]
            return texts, sources.failed
        span = None if self.span is None else parse_span(self.span)
        columns = ItemColumns(self.field, self.context_field, span, by_region, self.group)
        tables = [read_table(read_text(name), source_name(name)) for name in names]
        items = [
            replace(item, columns={**({"file": table.name} if len(tables) > 1 else {}), **item.columns})
            for table in tables
            for item in items_of(table, columns, context)
        ]
        return items, False

    def shared_context(self, note: Callable[[str], None]) -> str:
        """Return the context of all items, from a file if there is one of that name.

        Raises:
            InputError: it cannot be read, or is not UTF-8.
        """
        if self.context is None:
            return ""
        if is_file(self.context):
            note(f"note: the context is read from the file {self.context}")
            return read_text(self.context)
        return argument_text(self.context, "--context")


def _texts(
    sources: Sources, rows: RowOptions, settings: ProtocolOptions
) -> Iterator[tuple[str, dict[str, Any]]]:
    from gpt2cli.scoring.scored_text import split_texts

    for name, content in sources:
        for text in split_texts(content, rows.split, settings.newlines):
            file = {} if name is None else {"file": name}
            yield text.content, file | ({"document": text.number} if rows.split else {})
