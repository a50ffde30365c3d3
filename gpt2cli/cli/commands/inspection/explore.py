"""`gpt2 explore`: write with the model, token by token, in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpt2cli.cli.input.text import argument_text
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.inspection.exploration import DrawOptions


@takes_groups
def explore(
    *,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", show_default=False, help="The text to begin with.")
    ] = None,
    opened: Annotated[
        Path | None,
        typer.Option("--open", metavar="FILE", show_default=False, help="Open a tree that was saved."),
    ] = None,
    draws: DrawOptions,
    model: options.ModelOptions,
    compute: options.ComputeOptions,
    verbosity: options.MessageOptions,
) -> None:
    """Write with the model, token by token, and see what else it would have written.

    Arrow keys move through the text and the alternatives; Enter takes one, Space draws one. Another token in
    the middle of the text begins a branch. `?` shows all keys.

    The tree is saved as NAME.json, or as an outline, NAME.txt, that can be edited and opened again.

    `gpt2 explore "Once upon a time"`
    """
    from gpt2cli.cli.exploring.application import require_terminal, run

    require_terminal()
    begun = None if text is None else argument_text(text, "TEXT")
    loaded = model.load(compute, verbosity.messages())
    from gpt2cli.inspection.exploration.exploration import Exploration
    from gpt2cli.inspection.exploration.saving import load

    exploration = Exploration(loaded, draws.temperature, draws.top_p, draws.seed)
    if opened is not None:
        load(exploration, opened)
    if begun:
        exploration.begin(begun)
    run(exploration, opened)
