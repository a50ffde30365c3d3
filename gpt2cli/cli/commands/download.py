"""`gpt2 download`: fetch models from the Hub."""

from __future__ import annotations

from gpt2cli.cli.options import models as arguments
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.output.streams import write_path
from gpt2cli.cli.output.table import print_table
from gpt2cli.errors import UsageError
from gpt2cli.hub.model_files import fetch_model, plan_download
from gpt2cli.hub.model_source import model_source


@takes_groups
def download(
    models: arguments.Downloads,
    *,
    force: arguments.Force = False,
    dry_run: arguments.DryFetch = False,
    offline: options.Offline = False,
    verbosity: options.QuietOptions,
) -> None:
    """Fetch models that are missing, and print the folder of each.

    Only the files that gpt2 needs are fetched, into the Hugging Face cache that other programs share.

    `gpt2 download gpt2 distilgpt2`

    `gpt2 download --dry-run gpt2-xl`
    """
    if force and offline:
        raise UsageError("--force needs the network, which --offline forbids.", "Leave one of them out.")
    for name in models:
        # So that a misspelled name does not fail after a long download.
        model_source(name)
    if dry_run:
        rows = [
            (name, file, str(size))
            for name in models
            for file, size in plan_download(name, offline=offline, force=force).items()
        ]
        print_table(("MODEL", "FILE", "BYTES"), rows)
        return
    for name in models:
        files = fetch_model(name, offline=offline, force=force, reporter=verbosity.messages())
        write_path(files.folder)
