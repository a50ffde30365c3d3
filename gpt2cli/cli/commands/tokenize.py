"""`gpt2 tokenize`: text to ids, and back."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.tokenize import (
    EncodingOptions,
    FormOptions,
    SourceOptions,
    TokenizerOptions,
    check_form,
)
from gpt2cli.cli.output.messages import Messages, print_message
from gpt2cli.cli.output.progress.bytes import byte_progress
from gpt2cli.errors import InputError

if TYPE_CHECKING:
    from gpt2cli.cli.output.tokens import TokenWriter


@takes_groups
def tokenize(
    source: SourceOptions,
    form: FormOptions,
    *,
    output: options.Output = None,
    encoding: EncodingOptions,
    tokenizer: TokenizerOptions,
    color: options.Color = "auto",
    raw: options.Raw = False,
    verbosity: options.QuietOptions,
) -> None:
    r"""Print the token ids of text, one line per file.

    Every byte counts, the last line end too. `--json` prints file, ids and count; `--pieces` adds pieces,
    `--count` drops ids. A piece has `\xNN` for a byte that is not UTF-8 by itself. White space, commas or
    a JSON list separate the ids for `--decode`. `--format` u16 and u32 are bare little-endian integers; npy
    is a NumPy file of 16 bits per id, or 32 if the vocabulary is too large.

    Files of any size are read and written block by block. If bytes that are not UTF-8 come late in a file,
    the ids before them are already printed, but `-o` FILE is only written if all went well.

    `gpt2 tokenize --count *.txt`

    `gpt2 tokenize --text "Hello world" --pieces`

    `gpt2 tokenize corpus.txt --format u16 -o train.bin`

    `gpt2 tokenize notes | gpt2 tokenize --decode`
    """
    named = check_form(source, encoding, form, output)
    form = form.with_format(named)
    messages = verbosity.messages()
    sources = source.open(messages.note)
    opened = tokenizer.open(messages)
    to_ids = encoding.reader(opened, form.decode)
    # A progress bar would overwrite output on the same terminal.
    silent = verbosity.quiet or (output is None and sys.stdout is not None and sys.stdout.isatty())
    with (
        form.open_writer(opened, len(sources), output, named, color, raw) as writer,
        byte_progress(Messages(silent), source.size(sources)) as watched,
    ):

        def read(name: str | None) -> Iterator[array[int]]:
            return to_ids(watched(source.chunks(name)), source.name(name))

        failed = _write_each(sources, read, writer, all_or_nothing=output is not None)
    if failed:
        raise typer.Exit(1)


def _write_each(
    sources: Sequence[str | None],
    read: Callable[[str | None], Iterator[array[int]]],
    writer: TokenWriter,
    all_or_nothing: bool,
) -> bool:
    """Write every source that can be read, and return whether any could not."""
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
            print_message(f"Error: {error}")
            failed = True
        else:
            writer.end()
    writer.close()
    return failed
