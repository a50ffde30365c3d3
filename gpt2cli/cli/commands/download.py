"""`gpt2 download`: models fetched from the Hub, with their progress on stderr."""

from __future__ import annotations

from os import fsencode
from typing import TYPE_CHECKING, Annotated

import typer

from gpt2cli.cli.options import shared as options
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.streams import write_stdout
from gpt2cli.cli.output.table import print_table
from gpt2cli.errors import UsageError
from gpt2cli.hub.model_files import fetch_model, plan_download
from gpt2cli.hub.model_source import model_source

if TYPE_CHECKING:
    pass

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL",
        autocompletion=options.model_names,
        show_default=False,
        help="Known names or aliases (gpt2, 355M, distilgpt2) or OWNER/NAME[@REVISION] on the Hub.",
    ),
]


def download(
    models: Models,
    force: Annotated[
        bool, options.flag("--force", help="Fetch the files again, even if they are here.")
    ] = False,
    dry_run: Annotated[
        bool, options.flag("--dry-run", help="Print what would be fetched and its bytes, and fetch nothing.")
    ] = False,
    offline: options.Offline = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Fetch models, unless they are here already, and print the folder of each.

    Only the files that gpt2 needs are fetched, into the Hugging Face cache that other programs share.

    `gpt2 download gpt2 distilgpt2`

    `gpt2 download --dry-run gpt2-xl`
    """
    if force and offline:
        raise UsageError("--force needs the network, which --offline forbids.", "Leave one of them out.")
    for name in models:
        # A misspelt name should not be found out after a long download.
        model_source(name)
    if dry_run:
        _print_plans(models, offline, force)
        return
    messages = Messages(quiet=quiet)
    for name in models:
        files = fetch_model(name, offline=offline, force=force, reporter=messages)
        write_stdout(fsencode(files.config.parent) + b"\n")


def _print_plans(models: list[str], offline: bool, force: bool) -> None:
    rows = [
        (name, file, str(size))
        for name in models
        for file, size in plan_download(name, offline=offline, force=force).items()
    ]
    print_table(("MODEL", "FILE", "BYTES"), rows)
