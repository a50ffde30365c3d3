"""`gpt2 next`: what the model expects after a text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gpt2cli.cli.input.text import read_prompt
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.scoring import CandidateOptions, NextOptions
from gpt2cli.cli.options.studies.questions import QuestionOptions
from gpt2cli.cli.output.file_formats import file_format, require_format
from gpt2cli.cli.output.rows import FORMATS, RowOutput, row_format
from gpt2cli.cli.output.streams import open_output, stdout_is_terminal
from gpt2cli.cli.output.timing import print_timing
from gpt2cli.errors import UsageError
from gpt2cli.text.reading.newlines import Newlines, with_lf

if TYPE_CHECKING:
    from gpt2cli.cli.output.messages import Messages


@takes_groups
def next_tokens(
    *,
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", show_default=False, help="The text to continue; - reads stdin."),
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", metavar="FILE", help="Read the text from FILE.")
    ] = None,
    newlines: Annotated[
        Newlines | None, typer.Option(show_default="keep", help=options.NEWLINES_HELP)
    ] = None,
    predictions: NextOptions,
    candidates: CandidateOptions,
    questions: QuestionOptions,
    json: Annotated[bool, options.flag("--json", help="Print one JSON object.")] = False,
    view: Annotated[bool, options.flag("--view", help="Print bars, as on a terminal.")] = False,
    output: options.OutputOptions,
    model: options.ModelOptions,
    compute: options.ComputeOptions,
    verbosity: options.MessageOptions,
) -> None:
    """Print the likeliest next tokens after TEXT.

    With candidates, print how likely each of these continuations is instead.

    With `--items`, do so for each row of a table: JSON Lines with context, candidates and perhaps a label.

    Without TEXT and --file, the text is read from stdin, without its final line end.

    `gpt2 next "The cat sat on the"`

    `gpt2 next "The cat sat on the" --candidates " mat, floor, windowsill"`
    """
    named = file_format(output.output, ("text", *FORMATS))
    if json:
        require_format("--json", ("text", "json"), named, output.output)
    if view and (json or output.output):
        raise UsageError("--view prints bars, and excludes --json and -o.")
    messages = verbosity.messages(output.color)
    questions.check(text is not None or file is not None or bool(candidates.texts()))
    if questions.items is not None:
        from gpt2cli.cli.studies.answers import read_questions, write_answers

        asked = read_questions(questions.items)
        with open_output(output.output) as write:
            table = RowOutput("json" if json else row_format(named), write)
            write_answers(
                model.load(compute, messages), asked, predictions, questions.protocol, table, messages
            )
        return
    settings = predictions.for_candidates(candidates.texts())
    content = read_prompt(text, file, False, messages.note, "TEXT")
    content = with_lf(content) if newlines == "lf" else content
    settings.require_text(content)
    _note_spaces(content, settings.candidates, messages)
    loaded = model.open(compute, messages)
    start = time.perf_counter()
    from gpt2cli.scoring.rows import Candidate, NextToken, row_columns, row_record
    from gpt2cli.text.reading.notes import TextNotes

    notes = TextNotes(messages.note, loaded.tokenizer, settings.special, crlf=newlines is None)
    notes.check(content, "the text")
    continuations = loaded.continuations(content, settings)
    if continuations.truncated:
        messages.note(f"The text was cut to {len(continuations.ids):,} tokens.")
    row_type, column = (Candidate, "text") if settings.candidates else (NextToken, "token")
    records = [row_record(row, column) for row in continuations.rows()]
    print_timing(messages, loaded, start)
    if view or (output.output is None and not json and not output.raw and stdout_is_terminal()):
        from gpt2cli.cli.output.terminal.probability_bars import print_bars

        print_bars(records, output.color)
        return
    metadata = {
        "model": loaded.files.name,
        "revision": loaded.files.revision,
        "unit": settings.unit,
        "bos": continuations.starts_with_bos,
    }
    with open_output(output.output, raw=output.raw) as write:
        table = RowOutput("json" if json else row_format(named), write)
        table.write_rows(metadata, row_columns(row_type, column), records)


def _note_spaces(text: str, candidates: Sequence[str], messages: Messages) -> None:
    if text[-1:].isspace():
        messages.note("note: the text ends in white space, which models expect as a part of what follows")
    elif text[-1:].isalnum() and candidates and all(entry[0].isalnum() for entry in candidates):
        messages.note("note: no candidate begins with a space, so each is read as the end of the last word")
