"""`gpt2 lens`: what each layer would predict."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.inspection.selection import Json, LensOptions, TextOptions, View
from gpt2cli.cli.output.inspection.findings import InspectionOutput
from gpt2cli.cli.output.timing import print_timing

if TYPE_CHECKING:
    from gpt2cli.inspection.pictures.grid import Picture


@takes_groups
def lens(
    *,
    text: TextOptions,
    settings: LensOptions,
    view: View = False,
    json: Json = False,
    output: options.OutputOptions,
    model: options.ModelOptions,
    compute: options.ComputeOptions,
    verbosity: options.MessageOptions,
) -> None:
    """Print what each layer would predict at each place of TEXT.

    The logit lens: the last norm and the head read what every layer leaves. Layer 0 is the embedding, the
    last one the model's prediction. On a terminal it is a heat map of the likeliest tokens; in a pipe it is
    rows, with the surprisal and rank of the token that came and the entropy.

    `gpt2 lens "The cat sat on the mat"`

    `gpt2 lens "The cat sat on the mat" --position -1 --top 5 -o lens.svg`
    """
    out = InspectionOutput.open(output, view, json)
    messages = verbosity.messages(output.color)
    content = text.read(messages.note)
    loaded = model.load(compute, messages)
    start = time.perf_counter()
    from gpt2cli.inspection.lens import Lens, LensRow
    from gpt2cli.inspection.pictures.lens import lens_picture
    from gpt2cli.scoring.rows import row_columns, row_record
    from gpt2cli.text.reading.notes import TextNotes

    notes = TextNotes(messages.note, loaded.tokenizer, settings.special, crlf=text.newlines is None)
    notes.check(content, "the text")
    rows = list(Lens(loaded, content, settings).rows())
    print_timing(messages, loaded, start)

    def draw(columns: int, *, whole_cells: bool) -> Picture:
        return lens_picture(rows, loaded.files.name, settings.unit, columns)

    metadata = {
        "model": loaded.files.name,
        "revision": loaded.files.revision,
        "unit": settings.unit,
        "bos": settings.bos,
    }
    out.write(
        metadata, row_columns(LensRow, "token"), lambda: (row_record(row, "token") for row in rows), draw
    )
