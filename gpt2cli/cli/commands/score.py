"""`gpt2 score`: how likely a model finds a text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from gpt2cli.cli.answering.options import LineOptions
from gpt2cli.cli.input.lines import checked_blocks
from gpt2cli.cli.input.pairs import read_pairs
from gpt2cli.cli.options import rows as choose
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.scoring import ProtocolOptions
from gpt2cli.cli.output.rows import RowOutput
from gpt2cli.cli.output.streams import open_output
from gpt2cli.cli.output.timing import print_timing

if TYPE_CHECKING:
    from gpt2cli.scoring.pairs.sentences import Sentence
    from gpt2cli.scoring.text_scorer import Scoring
    from gpt2cli.text.reading.notes import TextNotes


@takes_groups
def score(
    source: choose.SourceOptions,
    rows: choose.RowOptions,
    output: options.OutputOptions,
    model: options.ModelOptions,
    output_format: choose.OutputFormat,
    selection: choose.SelectionOptions,
    settings: ProtocolOptions,
    lines: LineOptions,
    compute: options.ComputeOptions,
    verbosity: options.MessageOptions,
) -> None:
    """Print how surprising each token of a text is.

    A FILE is a document, and every byte counts, the last line end too. `--split` ends documents at line ends
    or at lines of `<|endoftext|>`. In `--pairs`, [brackets] or [np: brackets with a label] mark regions.
    Without BOS, the first token has no score. Rows of words also have `surprisal_corrected`: with the white
    space after a word, not before.

    `gpt2 score --text "The cat sat on the mat." --by word`

    `gpt2 score *.txt --by document --csv -o scores.csv`

    `gpt2 score --filter 'ppl<50' < lines`
    """
    target = output.output
    given = choose.given_options(source, rows, output_format, selection, settings)
    if lines.are_wanted(given, target):
        from gpt2cli.cli.answering.scores import score_lines

        origin = source.only() if lines.jsonl is None else lines.jsonl
        score_lines(lines, origin, model, settings, target, compute, verbosity.messages())
        return
    named = choose.check_conflicts(given, rows, selection, target)
    # Everything about the request is checked before a model is loaded.
    by = settings.rows_by(rows.by)
    if selection.pairs is None:
        source.require()
    messages = verbosity.messages()
    from gpt2cli.scoring.condition import parse_condition, passing

    condition = None if selection.keep is None else parse_condition(selection.keep)
    names = source.names(messages.note)
    sentences = None if selection.pairs is None else read_pairs(selection.pairs, messages)
    sources = None if condition or sentences else source.open(names)
    loaded = model.open(compute, messages)

    notes = settings.notes(messages.note, loaded.tokenizer, rows if sources else None)
    scoring = loaded.scoring(settings)
    start = time.perf_counter()
    with open_output(target) as write:
        table = RowOutput(output_format.kind(named), write, output_format.aligns(target))
        if condition:
            for block in checked_blocks(names, notes):
                for line in passing(scoring, ((line, line.text) for line in block), condition):
                    write(line.data)
        elif sentences:
            _write_pairs(scoring, sentences, notes, table)
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
            table.write_rows(
                scoring.metadata, report.columns, report.records(sources.checked(notes)), report.extra
            )
    print_timing(messages, loaded, start)
    if sources and sources.failed:
        raise typer.Exit(1)


def _write_pairs(scoring: Scoring, sentences: Sequence[Sentence], notes: TextNotes, table: RowOutput) -> None:
    from gpt2cli.scoring.pairs.comparison import ContrastRow, compare_pairs
    from gpt2cli.scoring.report import row_columns

    for sentence in sentences:
        notes.check(sentence.text.content, f"line {sentence.line} of the pairs")
    compared = compare_pairs(scoring, sentences)
    extra = {"contrasts": [vars(contrast) for contrast in compared.contrasts]}
    records = compared.records(with_means=table.kind == "tsv")
    table.write_rows(scoring.metadata, row_columns(ContrastRow), records, lambda: extra)
