"""`gpt2 tokenize`: text to ids, and back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from gpt2cli.cli import options
from gpt2cli.cli.download import fetch_with_progress
from gpt2cli.cli.render import Messages, json_line, write_stdout
from gpt2cli.cli.text_input import STDIN, argument_text, read_text, require_stdin, source_name
from gpt2cli.config import ModelConfig, known_model
from gpt2cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from gpt2cli.tokenizer import Tokenizer

Show = Callable[[str | None, list[int]], bytes]

EXCLUSIVE = (
    ("FILE", "--text"),
    ("--count", "--pieces"),
    *(("--decode", flag) for flag in ("--count", "--pieces", "--json", "--special")),
)
# White space separates ids, and so do the signs of a JSON list.
JSON_LIST_TO_SPACES = str.maketrans("[],", "   ")
# Python refuses to read numbers of thousands of digits.
LONGEST_ID = 18


def tokenize(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", show_default=False, help="Read these; - or none is stdin."),
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", metavar="TEXT", help="Take TEXT instead of files.")
    ] = None,
    count: Annotated[bool, typer.Option("--count", help="Print how many tokens there are.")] = False,
    pieces: Annotated[
        bool,
        typer.Option(
            "--pieces",
            help=r"Print one token a line: its id, a tab, its text as a JSON string. "
            r"Bytes that are not UTF-8 by themselves show as \\xNN.",
        ),
    ] = False,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print a JSON object a file: file, count, ids; --pieces adds pieces, --count drops ids.",
        ),
    ] = False,
    decode: Annotated[
        bool,
        typer.Option(
            "--decode",
            help="Turn ids into text, byte for byte; white space, commas or a JSON list separate them.",
        ),
    ] = False,
    special: options.Special = False,
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
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Print the token ids of text, one line a file; every byte of it counts, the last line end too.

    `gpt2 tokenize --count *.txt`

    `gpt2 tokenize --text "Hello world" --pieces`

    `gpt2 tokenize notes | gpt2 tokenize --decode`
    """
    _reject_conflicts(
        {
            "FILE": bool(files),
            "--text": text is not None,
            "--count": count,
            "--pieces": pieces,
            "--json": json,
            "--decode": decode,
            "--special": special,
        }
    )
    if not files and text is None:
        require_stdin("Name a FILE, use --text, or pipe text in.")
    tokenizer = _open_tokenizer(model, offline, Messages(quiet))

    def read_ids(source: str | None) -> list[int]:
        content = _read(source, text)
        return _parse_ids(content, _prefix(source)) if decode else tokenizer.encode(content, special)

    sources: Sequence[str | None] = files or [None]
    show = _choose_show(tokenizer, count, pieces, json, decode)
    total, failed = _show_each(sources, read_ids, show)
    if count and not json and len(sources) > 1:
        write_stdout(_count_line("total", total))
    if failed:
        raise typer.Exit(1)


def _reject_conflicts(given: Mapping[str, bool]) -> None:
    for one, other in EXCLUSIVE:
        if given[one] and given[other]:
            raise UsageError(f"{one} and {other} exclude each other.")


def _open_tokenizer(model: str | None, offline: bool, messages: Messages) -> Tokenizer:
    from gpt2cli.tokenizer import bundled_tokenizer, load_tokenizer

    # All known models share GPT-2's tokenizer, so none of them needs to be here.
    if model is None or known_model(model.partition("@")[0]):
        return bundled_tokenizer()
    files = fetch_with_progress(model, messages, offline=offline)
    return load_tokenizer(files, ModelConfig.from_json(files.config))


def _read(source: str | None, text: str | None) -> str:
    """Return the text of a named source; of --text or standard input where none is named."""
    if source is None:
        return read_text(STDIN) if text is None else argument_text(text, "--text")
    try:
        return read_text(source)
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InputError(error.message, "--text takes text itself.") from error
        raise


def _prefix(source: str | None) -> str:
    return f"{source_name(source)}: " if source else ""


def _parse_ids(content: str, prefix: str) -> list[int]:
    ids = []
    for word in content.translate(JSON_LIST_TO_SPACES).split():
        if not (word.isascii() and word.isdigit() and len(word) <= LONGEST_ID):
            raise InputError(f"{prefix}{word[:40]!r} is not a token id.", "Ids are whole numbers.")
        ids.append(int(word))
    return ids


def _choose_show(tokenizer: Tokenizer, count: bool, pieces: bool, json: bool, decode: bool) -> Show:
    """Return the function that turns a source's name and ids into what is printed."""
    piece = cache(lambda token_id: tokenizer.token_bytes(token_id).decode("utf-8", "backslashreplace"))

    def show_json(source: str | None, ids: list[int]) -> bytes:
        record: dict[str, object] = {"file": source, "count": len(ids)}
        if not count:
            record["ids"] = ids
        if pieces:
            record["pieces"] = list(map(piece, ids))
        return json_line(record)

    def show_text(source: str | None, ids: list[int]) -> bytes:
        try:
            return tokenizer.decode(ids)
        except InputError as error:
            raise InputError(_prefix(source) + error.message) from error

    if decode:
        return show_text
    if json:
        return show_json
    if count:
        return lambda source, ids: _count_line(source, len(ids))
    if pieces:
        line = cache(lambda token_id: f"{token_id}\t{dumps(piece(token_id), ensure_ascii=False)}\n")
        return lambda _, ids: "".join(map(line, ids)).encode()
    return lambda _, ids: f"{' '.join(map(str, ids))}\n".encode()


def _count_line(name: str | None, count: int) -> bytes:
    return f"{count}\n".encode() if name is None else b"%d %s\n" % (count, os.fsencode(name))


def _show_each(
    sources: Sequence[str | None], read_ids: Callable[[str | None], list[int]], show: Show
) -> tuple[int, bool]:
    """Print every source that can be read; return the number of tokens, and whether any could not."""
    total, failed = 0, False
    for source in sources:
        try:
            ids = read_ids(source)
            shown = show(source, ids)
        except InputError as error:
            if len(sources) == 1:
                raise
            Messages().note(f"Error: {error}")
            failed = True
            continue
        write_stdout(shown)
        total += len(ids)
    return total, failed
