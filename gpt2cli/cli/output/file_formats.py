"""The format of an output file, which the extension of its name asks for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from gpt2cli.errors import UsageError

FileFormat = Literal[
    "text", "markdown", "tsv", "csv", "json", "jsonl", "html", "svg", "png", "npy", "u16", "u32", "binary"
]
# Text and binary take any format of their kind.
EXTENSIONS: dict[FileFormat, tuple[str, ...]] = {
    "text": (".txt", ".text"),
    "markdown": (".md",),
    "tsv": (".tsv", ".tab"),
    "csv": (".csv",),
    "json": (".json",),
    "jsonl": (".jsonl", ".ndjson"),
    "html": (".html", ".htm"),
    "svg": (".svg",),
    "png": (".png",),
    "npy": (".npy",),
    "u16": (".u16",),
    "u32": (".u32",),
    "binary": (".bin",),
}


def file_format(output: Path | None, formats: Sequence[FileFormat], option: str = "-o") -> FileFormat | None:
    """Return the one of `formats` that a file's extension names; None for stdout or without an extension.

    `option` is the one that names the file.

    Raises:
        UsageError: the extension names none of them, and the file is not a device or a pipe.
    """
    extension = "" if output is None else output.suffix.lower()
    # sample.1 and text-t0.8 have no extension.
    if output is None or not extension[1:2].isalpha():
        return None
    for name in formats:
        if extension in EXTENSIONS[name]:
            return name
    if output.exists() and not output.is_file():
        return None
    *others, last = [EXTENSIONS[name][0] for name in formats]
    raise UsageError(
        f"{option} {output}: this command does not write {extension}.",
        f"The extension is the format: {', '.join(others)} or {last}. A name without one takes any.",
    )


def option_label(output: Path | None) -> str:
    """Return how messages name the output file."""
    return f"-o {output}"


def require_format(
    option: str, agreeing: Collection[FileFormat], named: FileFormat | None, output: Path | None
) -> None:
    """Check that the format that a file's extension names, if any, is one that an option agrees with.

    Raises:
        UsageError: it is not.
    """
    if named is not None and named not in agreeing:
        raise UsageError(f"{option} and {option_label(output)} exclude each other.")
