"""The options of `gpt2 tokenize`: what to read, how text becomes ids, and the form of the output."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gpt2cli.cli.input.text import (
    STDIN,
    argument_bytes,
    bytes_to_read,
    require_stdin,
    source_chunks,
    source_name,
)
from gpt2cli.cli.options.conflicts import conflicts_of, reject_conflicts
from gpt2cli.cli.options.shared import FILES_HELP, Offline, Special, flag, model_option
from gpt2cli.cli.output.file_formats import FileFormat, file_format, option_label, require_format
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.streams import atomic_file, open_output, stdout_is_terminal, wants_color
from gpt2cli.errors import InputError, UsageError
from gpt2cli.text.token_files import Format

if TYPE_CHECKING:
    from gpt2cli.cli.output.streams import Write
    from gpt2cli.cli.output.tokens import TokenWriter
    from gpt2cli.text.tokenizer import Tokenizer

FORM = "Form"
MEMORY_FOR_PIECES = 1 << 20

FORMS = ("--count", "--pieces", "--view", "--format")
EXCLUSIVE = (
    ("FILE", "--text"),
    ("--bytes", "--errors"),
    *combinations(FORMS, 2),
    *conflicts_of("--decode", (*FORMS, "--json", "--special", "--bytes", "--errors")),
    *conflicts_of("--json", ("--view", "--format")),
)
BINARY: tuple[Format, ...] = ("npy", "u16", "u32")
# What the format that a file's name asks for stands for.
FORM_OF_FILE: dict[FileFormat, str] = {
    "tsv": "--pieces",
    "json": "--json",
    "jsonl": "--json",
    "html": "--view",
    **dict.fromkeys(BINARY, "--format"),
}

_form = partial(flag, rich_help_panel=FORM)


@dataclass(frozen=True)
class SourceOptions:
    """What to read: files, standard input or a text."""

    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", show_default=False, help=FILES_HELP),
    ] = None
    text: Annotated[str | None, typer.Option(metavar="TEXT", help="Take TEXT instead of files.")] = None

    def open(self, note: Callable[[str], None]) -> Sequence[str | None]:
        """Return the sources, also those of folders and patterns; None is --text, or standard input.

        Raises:
            UsageError: standard input would be read, and is a terminal.
            InputError: a folder holds no text.
        """
        if not self.files and self.text is None:
            require_stdin("Name a FILE, use --text, or pipe text in.")
        if not self.files:
            return [None]
        from gpt2cli.text.reading.folders import named_files

        return named_files(self.files, note)

    def chunks(self, source: str | None) -> Iterator[bytes]:
        """Yield the bytes of a source.

        Raises:
            InputError: it cannot be read.
        """
        if source is None and self.text is not None:
            yield argument_bytes(self.text)
            return
        try:
            yield from source_chunks(source or STDIN)
        except InputError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise InputError(error.message, "To pass text itself, use --text.") from error
            raise

    def name(self, source: str | None) -> str:
        """Return the name of a source for messages."""
        return "--text" if source is None and self.text is not None else source_name(source or STDIN)

    def size(self, sources: Sequence[str | None]) -> int | None:
        """Return the bytes of all sources, None if unknown."""
        return None if self.text is not None else bytes_to_read(source or STDIN for source in sources)


@dataclass(frozen=True)
class EncodingOptions:
    """How text becomes ids."""

    special: Special = False
    errors: Annotated[
        Literal["strict", "replace"],
        typer.Option(help="Refuse bytes that are not UTF-8, or read U+FFFD."),
    ] = "strict"
    as_bytes: Annotated[bool, flag("--bytes", help="Turn bytes that are not UTF-8 into byte tokens.")] = False
    truncate: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", show_default=False, help="Keep the first N tokens of a file."),
    ] = None

    def reader(
        self, tokenizer: Tokenizer, decode: bool
    ) -> Callable[[Iterable[bytes], str], Iterator[array[int]]]:
        """Return the function that reads ids from a source's bytes, given its name for messages."""
        from gpt2cli.text.streaming.stream_encoder import StreamEncoder, first_ids, read_ids

        invalid = "keep" if self.as_bytes else self.errors
        read = read_ids if decode else StreamEncoder(tokenizer, self.special, invalid).encode
        return lambda chunks, name: first_ids(read(chunks, name), self.truncate)


@dataclass(frozen=True)
class TokenizerOptions:
    """Which tokenizer to use."""

    model: Annotated[
        str | None,
        model_option(show_default="GPT-2's, built in", help="Use this model's tokenizer."),
    ] = None
    offline: Offline = False

    def open(self, messages: Messages) -> Tokenizer:
        """Open the tokenizer as `open_tokenizer` does.

        Raises:
            HubError, CheckpointError: as `open_tokenizer` does.
        """
        from gpt2cli.text.opening import open_tokenizer

        return open_tokenizer(self.model, offline=self.offline, reporter=messages)


@dataclass(frozen=True)
class FormOptions:
    """The form of the output; a line of ids per file if none is chosen."""

    count: Annotated[bool, _form("--count", help="Print the number of tokens.")] = False
    pieces: Annotated[bool, _form("--pieces", help="Print a line per token: id and JSON text.")] = False
    view: Annotated[bool, _form("--view", help="Shade the tokens; -o FILE.html writes a page.")] = False
    json: Annotated[bool, _form("--json", help="Print one JSON object per file.")] = False
    decode: Annotated[bool, _form("--decode", help="Turn ids into text, byte for byte.")] = False
    file_format: Annotated[
        Format | None,
        typer.Option(
            "--format", rich_help_panel=FORM, show_default=False, help="Write the ids in binary to -o FILE."
        ),
    ] = None

    def with_format(self, named: FileFormat | None) -> FormOptions:
        """Return the form with what the name of the output file asks for."""
        asked = FORM_OF_FILE.get(named) if named else None
        return replace(
            self,
            pieces=self.pieces or asked == "--pieces",
            view=self.view or asked == "--view",
            json=self.json or asked == "--json",
            file_format=self.file_format or next((name for name in BINARY if name == named), None),
        )

    @contextmanager
    def open_writer(
        self,
        tokenizer: Tokenizer,
        source_count: int,
        output: Path | None,
        named: FileFormat | None,
        color: str,
        raw: bool = False,
    ) -> Iterator[TokenWriter]:
        """Open the writer of ids to a file, whose name may ask for a format, or to standard output."""
        from tempfile import SpooledTemporaryFile

        from gpt2cli.cli.output import tokens as writers
        from gpt2cli.text.token_files import TokenFile

        if output and self.file_format:
            with atomic_file(output) as file:
                yield writers.BinaryIds(TokenFile(file, self.file_format, tokenizer.id_limit))
            return
        as_list = named == "json" and source_count > 1
        with open_output(output, as_list=as_list, raw=raw or self.view) as write:
            if self.decode:
                yield writers.DecodedText(write, tokenizer)
            elif self.count:
                spelled = output is None and not raw and stdout_is_terminal()
                yield writers.Counts(write, self.json, source_count > 1, spelled)
            elif self.json:
                # They are known with the ids, but follow them in the object.
                with SpooledTemporaryFile(MEMORY_FOR_PIECES) as aside:
                    yield writers.JsonRecords(write, tokenizer, aside if self.pieces else None)
            elif self.pieces:
                yield writers.Pieces(write, tokenizer)
            elif self.view:
                yield _open_view(write, tokenizer, named, output is None, color)
            else:
                yield writers.IdLines(write, tokenizer)


def check_form(
    source: SourceOptions, encoding: EncodingOptions, form: FormOptions, output: Path | None
) -> FileFormat | None:
    """Check that the options go together, and return the format that the output's name asks for.

    Raises:
        UsageError: two options exclude each other, or the name asks for a format that cannot be written.
    """
    # Decoded text is the user's, in files of any name.
    named = None if form.decode else file_format(output, ("text", *FORM_OF_FILE, "binary"))
    chosen = {
        "--count": form.count,
        "--pieces": form.pieces,
        "--view": form.view,
        "--json": form.json,
        "--decode": form.decode,
        "--format": form.file_format is not None,
    }
    asked = FORM_OF_FILE.get(named) if named else None
    given = {
        **{name: is_chosen or name == asked for name, is_chosen in chosen.items()},
        "FILE": bool(source.files),
        "--text": source.text is not None,
        "--special": encoding.special,
        "--errors": encoding.errors != "strict",
        "--bytes": encoding.as_bytes,
    }
    label = option_label(output)
    reject_conflicts(given, EXCLUSIVE, {name: label for name, is_chosen in chosen.items() if not is_chosen})
    if form.json:
        require_format("--json", ("text", "json", "jsonl"), named, output)
    if form.file_format:
        if output is None:
            raise UsageError("--format writes binary, so it needs -o FILE.")
        require_format(f"--format {form.file_format}", (form.file_format, "binary"), named, output)
    elif named == "binary":
        raise UsageError(f"-o {output}: .bin does not name the type of ids.", "Add --format u16 or u32.")
    return named


def _open_view(
    write: Write, tokenizer: Tokenizer, named: FileFormat | None, to_stdout: bool, color: str
) -> TokenWriter:
    from gpt2cli.cli.output.token_view import HtmlPage, ShadedText

    if named == "html":
        return HtmlPage(write, tokenizer)
    return ShadedText(write, tokenizer, color == "always" or (to_stdout and wants_color(color)))
