"""Options of `compress` and `decompress`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gpt2cli.cli.input.text import STDIN, require_stdin
from gpt2cli.cli.options.shared import output_option
from gpt2cli.errors import UsageError


@dataclass(frozen=True, eq=False, repr=False)
class CompressionOptions:
    """What is read, and where the result goes."""

    file: Annotated[
        str | None, typer.Argument(metavar="FILE", show_default=False, help="A file of any kind; - is stdin.")
    ] = None
    text: Annotated[
        str | None, typer.Option(metavar="TEXT", show_default=False, help="Take TEXT instead of a file.")
    ] = None
    output: Annotated[Path | None, output_option("Write FILE, any name.")] = None

    def source(self) -> str:
        """Return the file to read, `-` for standard input.

        Raises:
            UsageError: there is nothing to read, or too much.
        """
        if self.text is not None and self.file is not None:
            raise UsageError("FILE and --text exclude each other.")
        if self.text is None and self.file is None:
            require_stdin("Name a FILE, use --text, or pipe bytes in.")
        return self.file or STDIN
