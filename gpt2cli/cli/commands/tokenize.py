"""`gpt2 tokenize`: text to ids, and back."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gpt2cli.cli.input.text import STDIN, bytes_to_read, require_stdin, source_chunks, source_name
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.output.byte_progress import byte_progress
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.streams import atomic_file, open_output, wants_color
from gpt2cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from gpt2cli.cli.output.streams import Write
    from gpt2cli.cli.output.tokens import TokenWriter
    from gpt2cli.text.stream_encoder import InvalidBytes
    from gpt2cli.text.token_files import Format
    from gpt2cli.text.tokenizer import Tokenizer

    # Turns what a source holds, and its name for messages, into ids.
    Read = Callable[[Iterable[bytes], str], Iterator[array[int]]]

FORMS = ("--count", "--pieces", "--view", "--format")
EXCLUSIVE = (
    ("FILE", "--text"),
    ("--bytes", "--errors"),
    *((one, other) for n, one in enumerate(FORMS) for other in FORMS[n + 1 :]),
    *(("--decode", flag) for flag in (*FORMS, "--json", "--special", "--bytes", "--errors")),
    *(("--json", flag) for flag in ("--view", "--format")),
)
PAGES = (".html", ".htm")
MEMORY_FOR_PIECES = 1 << 20


def tokenize(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", show_default=False, help="Read these; - or none is stdin."),
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", metavar="TEXT", help="Take TEXT instead of files.")
    ] = None,
    count: Annotated[bool, options.flag("--count", help="Print how many tokens there are.")] = False,
    pieces: Annotated[
        bool,
        options.flag(
            "--pieces",
            help=r"Print one token a line: its id, a tab, its text as a JSON string. "
            r"Bytes that are not UTF-8 by themselves show as \\xNN.",
        ),
    ] = False,
    view: Annotated[
        bool,
        options.flag(
            "--view",
            help="Show the text with each token shaded, or with a line between tokens where colour is off; "
            "with -o FILE.html, as a page.",
        ),
    ] = False,
    json: Annotated[
        bool,
        options.flag(
            "--json",
            help="Print a JSON object a file: file, ids, count; --pieces adds pieces, --count drops ids.",
        ),
    ] = False,
    decode: Annotated[
        bool,
        options.flag(
            "--decode",
            help="Turn ids into text, byte for byte; white space, commas or a JSON list separate them.",
        ),
    ] = False,
    output: options.Output = None,
    file_format: Annotated[
        Literal["u16", "u32", "npy"] | None,
        typer.Option(
            "--format",
            show_default=False,
            help="Write the ids of all files to the -o FILE in binary: little-endian integers, or a NumPy "
            "file of 16 bits an id if the vocabulary allows, else 32.",
        ),
    ] = None,
    truncate: Annotated[
        int | None,
        typer.Option(
            "--truncate", min=1, metavar="N", show_default=False, help="Keep the first N tokens of a file."
        ),
    ] = None,
    special: options.Special = False,
    errors: Annotated[
        Literal["strict", "replace"],
        typer.Option("--errors", help="Refuse bytes that are not UTF-8, or read them as U+FFFD."),
    ] = "strict",
    as_bytes: Annotated[
        bool,
        options.flag(
            "--bytes", help="Take any bytes: each that is not UTF-8 becomes the token of this byte."
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            envvar="GPT2_MODEL",
            autocompletion=options.model_names,
            show_default=False,
            help="Use the tokenizer of this model, named as in `gpt2 generate`. Default: GPT-2's own, "
            "built in: it needs no model and no network.",
        ),
    ] = None,
    offline: options.Offline = False,
    color: options.Color = "auto",
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Print the token ids of text, one line a file; every byte of it counts, the last line end too.

    Files of any size are read and written block by block. If bytes that are not UTF-8 come late in a long
    file, the ids before them are printed already; -o FILE is written only if all went well.

    `gpt2 tokenize --count *.txt`

    `gpt2 tokenize --text "Hello world" --pieces`

    `gpt2 tokenize corpus.txt --format u16 -o train.bin`

    `gpt2 tokenize notes | gpt2 tokenize --decode`
    """
    given = {
        "FILE": bool(files),
        "--text": text is not None,
        "--count": count,
        "--pieces": pieces,
        "--view": view,
        "--json": json,
        "--decode": decode,
        "--format": file_format is not None,
        "--special": special,
        "--errors": errors != "strict",
        "--bytes": as_bytes,
    }
    _reject_conflicts(given)
    if file_format and not output:
        raise UsageError("--format writes binary, so it needs -o FILE.")
    if not files and text is None:
        require_stdin("Name a FILE, use --text, or pipe text in.")
    sources: Sequence[str | None] = files or [None]
    from gpt2cli.text.opening import open_tokenizer

    tokenizer = open_tokenizer(model, offline=offline, reporter=Messages(quiet))
    to_ids = _choose_reader(tokenizer, decode, special, "keep" if as_bytes else errors)
    # On a terminal that shows the product, a bar would write over it.
    silent = quiet or (output is None and sys.stdout is not None and sys.stdout.isatty())
    total = None if text is not None else bytes_to_read(files or [STDIN])
    with (
        _open_writer(tokenizer, given, len(sources), output, file_format, color) as writer,
        byte_progress(Messages(silent), total) as watched,
    ):

        def read(source: str | None) -> Iterator[array[int]]:
            chunks = watched(_chunks(source, text))
            return _first(to_ids(chunks, _name(source, text)), truncate)

        failed = _write_each(sources, read, writer, all_or_nothing=output is not None)
    if failed:
        raise typer.Exit(1)


def _reject_conflicts(given: Mapping[str, bool]) -> None:
    for one, other in EXCLUSIVE:
        if given[one] and given[other]:
            raise UsageError(f"{one} and {other} exclude each other.")


def _choose_reader(tokenizer: Tokenizer, decode: bool, special: bool, invalid: InvalidBytes) -> Read:
    from gpt2cli.text.stream_encoder import StreamEncoder, read_ids

    return read_ids if decode else StreamEncoder(tokenizer, special, invalid).encode


def _chunks(source: str | None, text: str | None) -> Iterator[bytes]:
    """Yield what a named source holds; --text or standard input where none is named."""
    if source is None and text is not None:
        # What the locale could not decode is in an argument as lone surrogates.
        yield text.encode("utf-8", "surrogateescape")
        return
    try:
        yield from source_chunks(source or STDIN)
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InputError(error.message, "--text takes text itself.") from error
        raise


def _name(source: str | None, text: str | None) -> str:
    return "--text" if source is None and text is not None else source_name(source or STDIN)


@contextmanager
def _open_writer(
    tokenizer: Tokenizer,
    given: Mapping[str, bool],
    source_count: int,
    output: Path | None,
    file_format: Format | None,
    color: str,
) -> Iterator[TokenWriter]:
    """Open what writes ids in the form that the options ask for."""
    from tempfile import SpooledTemporaryFile

    from gpt2cli.cli.output import tokens as writers
    from gpt2cli.text.token_files import TokenFile

    if output and file_format:
        with atomic_file(output) as file:
            yield writers.BinaryIds(TokenFile(file, file_format, tokenizer.id_limit))
        return
    with open_output(output) as write:
        if given["--decode"]:
            yield writers.DecodedText(write, tokenizer)
        elif given["--count"]:
            yield writers.Counts(write, given["--json"], with_total=source_count > 1)
        elif given["--json"]:
            # Pieces follow the ids in the object, but come with them.
            with SpooledTemporaryFile(MEMORY_FOR_PIECES) as aside:
                yield writers.JsonRecords(write, tokenizer, aside if given["--pieces"] else None)
        elif given["--pieces"]:
            yield writers.Pieces(write, tokenizer)
        elif given["--view"]:
            yield _open_view(write, tokenizer, output, color)
        else:
            yield writers.IdLines(write, tokenizer)


def _open_view(write: Write, tokenizer: Tokenizer, output: Path | None, color: str) -> TokenWriter:
    from gpt2cli.cli.output.token_view import HtmlPage, ShadedText

    if output and output.suffix.lower() in PAGES:
        return HtmlPage(write, tokenizer)
    return ShadedText(write, tokenizer, color == "always" or (output is None and wants_color(color)))


def _first(blocks: Iterable[array[int]], limit: int | None) -> Iterator[array[int]]:
    """Yield ids up to a limit, and ask for no more than that takes."""
    if limit is None:
        yield from blocks
        return
    for ids in blocks:
        yield ids[:limit]
        limit -= len(ids)
        if limit <= 0:
            return


def _write_each(
    sources: Sequence[str | None],
    read: Callable[[str | None], Iterator[array[int]]],
    writer: TokenWriter,
    all_or_nothing: bool,
) -> bool:
    """Write every source that can be read; tell whether any could not."""
    failed = False
    for source in sources:
        writer.start(source)
        try:
            for ids in read(source):
                writer.add(ids)
        except InputError as error:
            writer.end(error)
            if all_or_nothing or len(sources) == 1:
                raise
            Messages().note(f"Error: {error}")
            failed = True
        else:
            writer.end()
    writer.close()
    return failed
