"""`gpt2 help`: the help of any command."""

from __future__ import annotations

from typing import Annotated

import typer


def show_help(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", show_default=False, help="A command of gpt2.")
    ] = None,
) -> None:
    """Show the help of a command, like --help.

    `gpt2 help generate`

    `gpt2 help models list`
    """
    from gpt2cli.cli.app import app

    app([*(words or []), "--help"], prog_name="gpt2", standalone_mode=False)
