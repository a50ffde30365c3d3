"""`gpt2 attention`: where attention heads look."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.inspection.selection import Head, Json, PassageOptions, TextOptions, View
from gpt2cli.cli.output.inspection.findings import InspectionOutput
from gpt2cli.cli.output.timing import print_timing

if TYPE_CHECKING:
    from gpt2cli.inspection.pictures.grid import Picture


@takes_groups
def attention(
    *,
    text: TextOptions,
    head: Head = None,
    settings: PassageOptions,
    view: View = False,
    json: Json = False,
    output: options.OutputOptions,
    model: options.ModelOptions,
    compute: options.ComputeOptions,
    verbosity: options.MessageOptions,
) -> None:
    """Print where the attention heads of each layer look in TEXT.

    On a terminal each head is a small picture; in a pipe it is a row of means: how far back a head looks,
    its attention to the first and the previous token and to itself, its entropy, and on a text that repeats
    itself its induction score. `--head` shows one head with its words; its rows are the weights.

    `gpt2 attention "The cat sat on the mat"`

    `gpt2 attention "The cat sat on the mat" --head 3.1 -o head.svg`
    """
    out = InspectionOutput.open(output, view, json)
    messages = verbosity.messages(output.color)
    content = text.read(messages.note)
    loaded = model.load(compute, messages)
    start = time.perf_counter()
    from gpt2cli.inspection.attention import Attention, HeadRow, WeightRow
    from gpt2cli.inspection.pictures.attention import head_picture, overview, strongest
    from gpt2cli.scoring.rows import row_columns, row_record
    from gpt2cli.text.reading.notes import TextNotes

    notes = TextNotes(messages.note, loaded.tokenizer, settings.special, crlf=text.newlines is None)
    notes.check(content, "the text")
    found = Attention(loaded, content, settings, head)
    print_timing(messages, loaded, start)
    name = loaded.files.name

    def draw(columns: int, *, whole_cells: bool) -> Picture:
        if head:
            return head_picture(found, head, name, columns)
        return overview(found, name, columns, whole_cells=whole_cells)

    def known_for() -> Iterator[str]:
        for trait, heads in () if head else strongest(found.heads):
            if heads:
                yield f"{trait}: {', '.join(f'{row.layer}.{row.head}' for row in heads)}"

    metadata = {"model": name, "revision": loaded.files.revision, "bos": settings.bos}
    columns = row_columns(WeightRow if head else HeadRow, "token")
    rows = found.weights if head else lambda: iter(found.heads)
    out.write(metadata, columns, lambda: (row_record(row, "token") for row in rows()), draw, known_for)
