"""`gpt2 models`: list, describe, verify and remove the models on this machine."""

from __future__ import annotations

import typer

from gpt2cli.cli.options import models as arguments
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.errors import CheckpointError, HubError
from gpt2cli.hub.model_files import ModelFiles, find_model

models = typer.Typer(
    help="List, describe, verify and remove the models on this machine.", no_args_is_help=True
)


@models.command("list")
def list_models(json: options.Json = False, debug: options.Debug = False) -> None:
    """List models: bundled, in the Hugging Face cache, and converted weights.

    `gpt2 generate -m` takes every NAME. Weights that `--quantize` and `--dtype` keep for the next start are
    listed under the model that they were made from, with their type as KIND; an int8-head
    speeds up the choice of a token.

    `gpt2 models list --json`
    """
    from gpt2cli.cli.commands.models.tables import print_models
    from gpt2cli.hub.listing import list_models

    print_models([model.to_dict() for model in list_models()], json)


@models.command()
def show(name: arguments.Name, json: options.Json = False, debug: options.Debug = False) -> None:
    """Describe a model: architecture, parameters, files and license.

    `gpt2 models show --json gpt2`
    """
    files = _require_model(name)
    from gpt2cli.cli.commands.models.tables import print_facts
    from gpt2cli.hub.model_facts import describe_model

    print_facts(describe_model(files).to_dict(), json)


@models.command()
@takes_groups
def verify(names: arguments.Names, *, json: options.Json = False, verbosity: options.QuietOptions) -> None:
    """Check the files of models against their hashes, without the network.

    If no hash is known, as in a plain folder, RESULT is unverified: only sizes, names and shapes are
    checked. The exit code is 1 if a file is damaged.

    `gpt2 models verify gpt2 ./my-model`
    """
    found = {name: _require_model(name) for name in names}
    from gpt2cli.cli.commands.models.tables import print_checks, repair, unverified
    from gpt2cli.hub.checks.verification import verify_model

    checks = []
    for name, files in found.items():
        with verbosity.messages().working(f"Checking {name}"):
            checks += [(name, check) for check in verify_model(files)]
    print_checks([{"model": name, **check.to_dict()} for name, check in checks], json)
    for note in unverified(checks, found):
        verbosity.messages().note(note)
    damaged = [(name, check) for name, check in checks if check.problem]
    if damaged:
        paths = ", ".join(str(check.path) for _, check in damaged)
        raise CheckpointError(f"Damaged: {paths}.", f"To repair it: {repair(damaged, found)}.")


@models.command()
@takes_groups
def rm(names: arguments.Removable, *, yes: arguments.Yes = False, verbosity: options.QuietOptions) -> None:
    """Remove models from the Hugging Face cache and print the bytes freed.

    All revisions go, and so do the weights converted from them.

    `gpt2 models rm -y distilgpt2 gpt2-large`
    """
    from gpt2cli.cli.commands.models.removal import remove_with_consent
    from gpt2cli.hub.removal import cache_folders, conversion_removals, repository_removal

    folders = dict.fromkeys(folder for name in names for folder in cache_folders(name))
    removals = [repository_removal(folder) for folder in folders]
    removals += [removal for folder in folders for removal in conversion_removals(folder)]
    remove_with_consent(removals, yes, verbosity.messages())


@models.command()
@takes_groups
def prune(
    *, yes: arguments.Yes = False, dry_run: arguments.DryRemoval = False, verbosity: options.QuietOptions
) -> None:
    """Remove partial downloads, old revisions and converted weights.

    These are .incomplete files, blobs that no snapshot uses, snapshots that no branch or tag points to, and
    all files that `--quantize` and `--dtype` keep, which are made again when needed.

    `gpt2 models prune --dry-run`
    """
    from gpt2cli.cli.commands.models.removal import print_removals, remove_with_consent
    from gpt2cli.hub.removal import plan_prune

    removals = plan_prune()
    if dry_run:
        print_removals(removals)
    elif removals:
        remove_with_consent(removals, yes, verbosity.messages())
    else:
        verbosity.messages().note("Nothing to prune.")


def _require_model(name: str) -> ModelFiles:
    files = find_model(name)
    if files is None:
        raise HubError(f"{name} is not on this machine.", f"Fetch it: gpt2 download {name}.")
    return files
