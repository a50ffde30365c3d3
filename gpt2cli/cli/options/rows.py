"""Options that decide what `score` prints, and in which format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

import typer

from gpt2cli.cli.input.sources import Sources
from gpt2cli.cli.input.text import STDIN, require_stdin
from gpt2cli.cli.options.conflicts import conflicts_of, reject_conflicts
from gpt2cli.cli.options.scoring import ProtocolOptions
from gpt2cli.cli.options.shared import FILES_HELP, flag
from gpt2cli.cli.output.file_formats import FileFormat, file_format, option_label
from gpt2cli.cli.output.rows import FORMATS, Format, row_format
from gpt2cli.cli.output.streams import stdout_is_terminal
from gpt2cli.errors import UsageError

INPUT, FORMAT, SELECTION = "Input and rows", "Format", "Instead of rows"
# Lines of JSON are read by --jsonl.
FLAG_OF: dict[Format, str] = {"tsv": "--tsv", "csv": "--csv", "json": "--json", "jsonl": "--json-rows"}
FORMAT_FLAGS = list(FLAG_OF.values())
PICTURES: tuple[FileFormat, ...] = ("html", "svg", "png")
EXCLUSIVE = (
    ("FILE", "--text"),
    *combinations(FORMAT_FLAGS, 2),
    *conflicts_of("--pairs", ("FILE", "--text", "--by", "--split", "--protocol", "--filter")),
    *conflicts_of("--pairs", ("--csv", "--json-rows")),
    *(("--newlines", name) for name in ("--pairs", "--filter")),
    *conflicts_of("--filter", ("--text", "--by", "--split", "--protocol", *FORMAT_FLAGS)),
    *conflicts_of("--view", ("--pairs", "--filter", "--protocol", *FORMAT_FLAGS)),
)

_input = partial(typer.Option, rich_help_panel=INPUT)
_format = partial(flag, rich_help_panel=FORMAT)
_selection = partial(typer.Option, rich_help_panel=SELECTION)


@dataclass(frozen=True, eq=False, repr=False)
class SourceOptions:
    """Where texts come from."""

    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", show_default=False, help=FILES_HELP),
    ] = None
    text: Annotated[str | None, _input("--text", metavar="TEXT", help="Score TEXT instead of files.")] = None

    def names(self, note: Callable[[str], None]) -> Sequence[str]:
        """Return the files, also those of folders and patterns; `-` is standard input.

        Raises:
            InputError: a folder holds no text.
        """
        if not self.files:
            return [STDIN]
        from gpt2cli.text.reading.folders import named_files

        return named_files(self.files, note)

    def require(self) -> None:
        """Check that there is something to read.

        Raises:
            UsageError: standard input is a terminal and nothing else was named.
        """
        if not self.files and self.text is None:
            require_stdin("Name a FILE, use --text, or pipe text in.")

    def open(self, names: Sequence[str]) -> Sources:
        """Return the texts of `names`, or the one that was given.

        Raises:
            InputError: the only one cannot be read.
        """
        return Sources(names if self.files else None, self.text)


@dataclass(frozen=True, eq=False, repr=False)
class RowOptions:
    """What gets a row, and what counts as a document."""

    by: Annotated[
        Literal["token", "word", "line", "document", "region"] | None,
        _input("--by", show_default="token", help="What gets a row."),
    ] = None
    split: Annotated[
        Literal["line", "endoftext"] | None,
        _input("--split", show_default="a FILE", help="What ends a document."),
    ] = None


@dataclass(frozen=True, eq=False, repr=False)
class OutputFormat:
    """The format of rows."""

    tsv: Annotated[bool, _format("--tsv", help="Print TSV, the default.")] = False
    csv: Annotated[bool, _format("--csv", help="Print CSV.")] = False
    json: Annotated[bool, _format("--json", help="Print one JSON object with rows and documents.")] = False
    json_rows: Annotated[bool, _format("--json-rows", help="Print one JSON object per row.")] = False

    def kind(self, named: FileFormat | None) -> Format:
        """Return the format that was chosen by an option or a file's name, TSV by default."""
        return next((name for name in FORMATS if self.chosen[FLAG_OF[name]]), row_format(named))

    @property
    def chosen(self) -> dict[str, bool]:
        """Whether each option is given."""
        return dict(zip(FORMAT_FLAGS, (self.tsv, self.csv, self.json, self.json_rows), strict=True))

    def aligns(self, output: Path | None) -> bool:
        """Return whether TSV that was not asked for is a table for a terminal instead."""
        return output is None and not self.tsv and stdout_is_terminal()


@dataclass(frozen=True, eq=False, repr=False)
class SelectionOptions:
    """What to print in place of rows of scores."""

    view: Annotated[
        bool,
        flag(
            "--view",
            rich_help_panel=SELECTION,
            help="Shade the text; so does -o FILE.html, .svg or .png.",
        ),
    ] = False
    pairs: Annotated[
        str | None,
        _selection(
            metavar="FILE",
            help="Compare conditions: a TSV of item, condition, text.",
        ),
    ] = None
    keep: Annotated[
        str | None,
        _selection("--filter", metavar="COND", help="Print the lines that meet COND, such as 'ppl<50'."),
    ] = None


def given_options(
    source: SourceOptions,
    rows: RowOptions,
    output_format: OutputFormat,
    selection: SelectionOptions,
    settings: ProtocolOptions,
) -> dict[str, bool]:
    """Return which options of `score` are given, of those that exclude others."""
    return {
        "FILE": bool(source.files),
        "--text": source.text is not None,
        "--by": rows.by is not None,
        "--split": rows.split is not None,
        "--pairs": selection.pairs is not None,
        "--filter": selection.keep is not None,
        "--protocol": settings.protocol is not None,
        "--newlines": settings.newlines is not None,
        "--view": selection.view,
        **output_format.chosen,
    }


def check_conflicts(
    given: Mapping[str, bool], rows: RowOptions, selection: SelectionOptions, output: Path | None
) -> FileFormat | None:
    """Check that the options of `score` go together, and return the format that the output's name asks for.

    Raises:
        UsageError: two of them do not, or the name asks for a format that `score` does not write.
    """
    named = _file_format(output, selection)
    asked = {"--view": named in PICTURES, **{option: name == named for name, option in FLAG_OF.items()}}
    label = option_label(output)
    implied = {name: label for name, is_asked in asked.items() if is_asked and not given[name]}
    reject_conflicts({**given, **dict.fromkeys(implied, True)}, EXCLUSIVE, implied)
    if (given["--view"] or asked["--view"]) and rows.by not in (None, "token", "word"):
        shading = "--view" if selection.view else label
        raise UsageError(f"{shading} shades tokens or words only.", "Use --by token or --by word.")
    return named


def _file_format(output: Path | None, selection: SelectionOptions) -> FileFormat | None:
    try:
        return file_format(output, ("text", *FORMATS, *PICTURES))
    except UsageError:
        # Lines that pass a filter are the user's text, in files of any name.
        if selection.keep is not None:
            return None
        raise
