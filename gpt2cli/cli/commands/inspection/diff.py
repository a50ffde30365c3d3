"""`gpt2 diff`: what two models make of a text."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.inspection.comparison import DiffOptions, Top, TwoModelOptions
from gpt2cli.cli.options.inspection.selection import Json, TextOptions, View
from gpt2cli.cli.output.inspection.findings import InspectionOutput
from gpt2cli.cli.output.timing import print_timing

if TYPE_CHECKING:
    from gpt2cli.inspection.pictures.grid import Picture


@takes_groups
def diff(
    *,
    text: TextOptions,
    models: TwoModelOptions,
    top: Top = None,
    settings: DiffOptions,
    view: View = False,
    json: Json = False,
    output: options.OutputOptions,
    compute: options.ComputeOptions,
    verbosity: options.MessageOptions,
) -> None:
    """Compare the surprisals of two models on TEXT.

    The difference is the second surprisal minus the first: below zero, the second model finds the token less
    surprising. Models with the same tokenizer also get the KL divergence of the second prediction from the
    first at each token. Models with different tokenizers are compared by word.

    `gpt2 diff -m gpt2 -m my-model "Once upon a time"`

    `gpt2 diff -m gpt2 -m distilgpt2 -f story.txt -o diff.html`
    """
    out = InspectionOutput.open(output, view, json)
    models.require_two()
    messages = verbosity.messages(output.color)
    content = text.read(messages.note)
    pair = models.load(compute, messages)
    start = time.perf_counter()
    from gpt2cli.inspection.difference import Comparison, TokenDifference, WordDifference, largest
    from gpt2cli.inspection.pictures.difference import difference_picture
    from gpt2cli.scoring.rows import row_columns, row_record
    from gpt2cli.text.reading.notes import TextNotes

    notes = TextNotes(messages.note, pair[0].tokenizer, settings.special, crlf=text.newlines is None)
    notes.check(content, "the text")
    compared = Comparison(pair, content, settings)
    rows = compared.rows()
    for loaded in pair:
        print_timing(messages, loaded, start)
    names = pair[0].files.name, pair[1].files.name

    def draw(columns: int, *, whole_cells: bool) -> Picture:
        return difference_picture(content, rows, names, settings.unit, columns, signs=whole_cells)

    def sums() -> Iterator[str]:
        yield compared.summary(rows)

    chosen = rows if top is None else largest(rows, top)
    column = compared.by
    row_type = TokenDifference if column == "token" else WordDifference
    records = (row_record(row, column) for row in chosen)
    out.write(compared.metadata, row_columns(row_type, column), lambda: records, draw, sums)
