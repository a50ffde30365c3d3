"""`gpt2 rank`: lines, the likeliest first."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import typer

from gpt2cli.cli.input.lines import Line, checked_blocks
from gpt2cli.cli.input.text import STDIN, require_stdin
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.scoring import ScoringOptions
from gpt2cli.cli.output.file_formats import file_format, require_format
from gpt2cli.cli.output.rows import FORMATS, RowOutput, row_format
from gpt2cli.cli.output.streams import open_output
from gpt2cli.cli.output.timing import print_timing
from gpt2cli.text.reading.folders import named_files


@takes_groups
def rank(
    *,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", show_default=False, help=options.FILES_HELP),
    ] = None,
    by: Annotated[
        Literal["mean", "total"],
        typer.Option("--by", help="Rank by the surprisal of a token or of the line."),
    ] = "mean",
    best: Annotated[
        int | None,
        typer.Option("--best", "-n", min=1, metavar="N", show_default="all", help="Print the N best lines."),
    ] = None,
    json: options.JsonLines = False,
    output: options.Output = None,
    raw: options.Raw = False,
    model: options.ModelOptions,
    settings: ScoringOptions,
    compute: options.ComputeOptions,
    verbosity: options.MessageOptions,
) -> None:
    """Print lines in order of likelihood, the best first.

    Each line is scored on its own; --json adds the scores. Lines without a score come last.

    `gpt2 rank hypotheses -n 1`

    `gpt2 generate "Once" --num-samples 9 --json | jq -r .text | gpt2 rank`
    """
    named = file_format(output, ("text", *FORMATS))
    if json:
        require_format("--json", ("text", "json", "jsonl"), named, output)
    if not files:
        require_stdin("Name a FILE, or pipe lines in.")
    messages = verbosity.messages()
    names = named_files(files or [STDIN], messages.note)
    loaded = model.load(compute, messages)
    start = time.perf_counter()
    from gpt2cli.scoring.rows import Summary, row_columns
    from gpt2cli.scoring.text_scorer import open_scoring
    from gpt2cli.text.reading.notes import TextNotes

    notes = TextNotes(messages.note, loaded.tokenizer, settings.special)
    scoring = open_scoring(loaded, settings)
    lines = ((line, line.text) for block in checked_blocks(names, notes) for line in block)
    ranked = scoring.ranked(lines, by, best)
    print_timing(messages, loaded, start)
    with open_output(output, raw=raw) as write:
        if json or named not in (None, "text"):
            records = (
                {"place": place, **_place(line, bool(files)), **vars(summary)}
                for place, (line, summary) in enumerate(ranked, 1)
            )
            columns = ["place", *(["file"] if files else []), "line", "text", *row_columns(Summary)]
            kind = row_format(named) if named in FORMATS else "jsonl"
            RowOutput(kind, write).write_rows(scoring.metadata, columns, records)
            return
        for line, _ in ranked:
            # The last line of a file may lack a line end, and may not be last here.
            write(line.data if line.data.endswith(b"\n") else line.data + b"\n")


def _place(line: Line, is_named: bool) -> dict[str, Any]:
    return {**({"file": line.source} if is_named else {}), "line": line.number, "text": line.text}
