"""`gpt2 score`: how likely a model finds a text."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import typer

from gpt2cli.cli.answering.options import LineOptions
from gpt2cli.cli.input.lines import checked_blocks
from gpt2cli.cli.options import rows as choose
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.scoring import ProtocolOptions
from gpt2cli.cli.options.studies.items import SeveralModels, StudyOptions
from gpt2cli.cli.output.rows import Format, RowOutput
from gpt2cli.cli.output.streams import open_output
from gpt2cli.cli.output.timing import print_timing


@takes_groups
def score(
    source: choose.SourceOptions,
    rows: choose.RowOptions,
    output: options.OutputOptions,
    models: SeveralModels,
    output_format: choose.OutputFormat,
    selection: choose.SelectionOptions,
    settings: ProtocolOptions,
    study: StudyOptions,
    lines: LineOptions,
    compute: options.ComputeOptions,
    verbosity: options.MessageOptions,
) -> None:
    """Print how surprising each token of a text is.

    A FILE is a document, and every byte counts, the last line end too. `--split` ends documents at line ends
    or at lines of `<|endoftext|>`. In `--pairs`, [brackets] or [np: brackets with a label] mark regions.
    Without BOS, the first token has no score. With `--field`, rows carry the columns of a table: CSV, TSV or
    JSON Lines. Rows of words also have `surprisal_corrected`: with the white
    space after a word, not before.

    `gpt2 score --text "The cat sat on the mat." --by word`

    `gpt2 score *.txt --by document --csv -o scores.csv`

    `gpt2 score items.csv --field sentence --by word -m gpt2 -m gpt2-medium`

    `gpt2 score --filter 'ppl<50' < lines`
    """
    target = output.output
    given = choose.given_options(source, rows, output_format, selection, settings)
    answered = lines.with_field(lines.jsonl and study.field)
    if answered.are_wanted(given, target):
        from gpt2cli.cli.answering.scores import score_lines

        replace(study, field=None).refuse("--jsonl")
        score_lines(answered, models.only(), settings, target, compute, verbosity.messages())
        return
    named = choose.check_conflicts(given, rows, selection, target)
    messages = verbosity.messages()
    kind = output_format.kind(named)
    if selection.pairs is not None or study.wanted or rows.by == "region" or len(models.names) > 1:
        from gpt2cli.cli.studies.scores import score_study

        loading = [partial(model.load, compute, messages) for model in models.each()]
        open_table = partial(_open_table, output, output_format, kind)
        draws = named in choose.PICTURES
        failed = score_study(
            study, source, rows, selection, settings, loading, open_table, messages, draws=draws
        )
        raise typer.Exit(int(failed))
    # Everything about the request is checked before a model is loaded.
    by = settings.rows_by(rows.by)
    source.require()
    from gpt2cli.scoring.condition import parse_condition, passing

    condition = None if selection.keep is None else parse_condition(selection.keep)
    names = source.names(messages.note)
    sources = None if condition else source.open(names)
    loaded = models.each()[0].open(compute, messages)
    notes = settings.notes(messages.note, loaded.tokenizer, rows if sources else None)
    scoring = loaded.scoring(settings)
    start = time.perf_counter()
    aligned = output_format.aligns(target) and not output.raw
    with open_output(target, raw=output.raw or selection.view) as write:
        table = RowOutput(kind, write, aligned)
        if condition:
            for block in checked_blocks(names, notes):
                for line in passing(scoring, ((line, line.text) for line in block), condition):
                    write(line.data)
        elif sources and (selection.view or named in choose.PICTURES):
            from gpt2cli.cli.output.score_view import View, show_view

            view = View(scoring, sources.checked(notes), by == "word", rows.split, settings.newlines)
            show_view(view, named, write, to_stdout=target is None, color=output.color)
        elif sources:
            from gpt2cli.scoring.report import Report

            # Other formats have no place for documents next to rows.
            keeps = table.kind == "json"
            places = sources.are_files, sources.are_several
            report = Report(scoring, by, rows.split, *places, keeps, settings.newlines)
            records = report.records(sources.checked(notes))
            table.write_rows(scoring.metadata, report.columns, records, report.extra)
    print_timing(messages, loaded, start)
    if sources and sources.failed:
        raise typer.Exit(1)


@contextmanager
def _open_table(
    output: options.OutputOptions, output_format: choose.OutputFormat, kind: Format
) -> Iterator[RowOutput]:
    with open_output(output.output, raw=output.raw) as write:
        yield RowOutput(kind, write, output_format.aligns(output.output) and not output.raw)
