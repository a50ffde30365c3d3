"""`gpt2 models`: the models on this machine, listed, described, verified and removed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2cli.cli.options import shared as options
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.streams import json_line, write_stdout
from gpt2cli.cli.output.table import print_table
from gpt2cli.cli.output.units import size_text
from gpt2cli.errors import CheckpointError, HubError, UsageError
from gpt2cli.hub.converted_files import converted_files
from gpt2cli.hub.model_files import (
    CachedModel,
    ModelFiles,
    bundled_model,
    cache_folders,
    cached_models,
    find_model,
)

if TYPE_CHECKING:
    from gpt2cli.hub.model_facts import ModelFacts
    from gpt2cli.hub.removal import Removal
    from gpt2cli.hub.verification import FileCheck

SHORT_REVISION = 8

models = typer.Typer(
    help="List, describe, verify and remove the models on this machine.", no_args_is_help=True
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        autocompletion=options.model_names,
        show_default=False,
        help="A known name, OWNER/NAME[@REVISION], a folder or a .safetensors file.",
    ),
]
Names = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL",
        autocompletion=options.model_names,
        show_default=False,
        help="Known names, OWNER/NAME[@REVISION], folders or .safetensors files.",
    ),
]
Removable = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL",
        autocompletion=options.model_names,
        show_default=False,
        help="Known names or OWNER/NAME, as `gpt2 models list` names them.",
    ),
]
Yes = Annotated[bool, options.flag("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, options.flag("--dry-run", help="Print what would be removed, and remove nothing.")]


@models.command("list")
def list_models(json: options.Json = False, debug: options.Debug = False) -> None:
    """List the GPT-2 models in the Hugging Face cache, the bundled one, and weights converted from models.

    Every NAME can be given to `gpt2 generate -m`. The KIND of weights that `--quantize` and `--dtype` keep
    for the next start is their type, and int8-head tells `gpt2 generate` which tokens can matter; NAME then
    is the model that they were made from.

    `gpt2 models list --json`
    """
    bundled = bundled_model()
    found = [*([bundled] if bundled else []), *cached_models()]
    records = [_listed(model) for model in found] + _listed_conversions(found)
    if json:
        for record in records:
            write_stdout(json_line(record))
        return
    print_table(("NAME", "KIND", "SIZE", "REVISION", "PATH"), [_listed_row(record) for record in records])


@models.command()
def show(name: Name, json: options.Json = False, debug: options.Debug = False) -> None:
    """Describe a model on this machine: its architecture, parameters, files and license.

    `gpt2 models show gpt2`

    `gpt2 models show --json ./my-model`
    """
    files = _require_model(name)
    # It needs numpy.
    from gpt2cli.hub.model_facts import describe_model

    facts = _described(files, describe_model(files))
    if json:
        write_stdout(json_line(facts))
        return
    print_table(("FACT", "VALUE"), list(_fact_rows(facts)))


@models.command()
def verify(
    names: Names, json: options.Json = False, quiet: options.Quiet = False, debug: options.Debug = False
) -> None:
    """Check the files of models against the hashes that the cache knows, without the network.

    Where no hash is known, as in a plain folder, CHECK says form: sizes, names and shapes are checked.
    The exit code is 1 if a file is damaged.

    `gpt2 models verify gpt2 ./my-model`
    """
    found = {name: _require_model(name) for name in names}
    from gpt2cli.hub.verification import verify_model

    checks: list[tuple[str, FileCheck]] = []
    for name, files in found.items():
        with Messages(quiet=quiet).working(f"Checking {name}"):
            checks += [(name, check) for check in verify_model(files)]
    _print_checks(checks, json)
    damaged = [(name, check.path) for name, check in checks if check.problem]
    if damaged:
        paths = ", ".join(str(path) for _, path in damaged)
        cached = dict.fromkeys(name for name, _ in damaged if found[name].revision)
        hint = f"gpt2 download --force {' '.join(cached)}" if cached else "copy it again from where it came"
        raise CheckpointError(f"Damaged: {paths}.", f"To repair it: {hint}.")


@models.command()
def rm(
    names: Removable, yes: Yes = False, quiet: options.Quiet = False, debug: options.Debug = False
) -> None:
    """Remove models from the Hugging Face cache, with all their revisions, and print the bytes freed.

    Weights that were converted from them go too.

    `gpt2 models rm gpt2-xl`

    `gpt2 models rm -y distilgpt2 gpt2-large`
    """
    from gpt2cli.hub.removal import conversion_removals, repository_removal

    folders = dict.fromkeys(folder for name in names for folder in cache_folders(name))
    removals = [repository_removal(folder) for folder in folders]
    removals += [removal for folder in folders for removal in conversion_removals(folder)]
    _remove(removals, yes, Messages(quiet=quiet))


@models.command()
def prune(
    yes: Yes = False, dry_run: DryRun = False, quiet: options.Quiet = False, debug: options.Debug = False
) -> None:
    """Remove what is left of interrupted downloads and of old revisions of models, and converted weights.

    These are .incomplete files, blobs that no snapshot uses, snapshots that no branch or tag points to, and
    all files that `--quantize` and `--dtype` keep: they are made again when they are next asked for.

    `gpt2 models prune --dry-run`
    """
    from gpt2cli.hub.removal import plan_prune

    removals = plan_prune()
    messages = Messages(quiet=quiet)
    if dry_run:
        _print_removals(removals)
    elif removals:
        _remove(removals, yes, messages)
    else:
        messages.note("There is nothing to prune.")


def _listed(model: CachedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "kind": "model",
        "dtype": None,
        "repo": model.repo,
        "revision": model.revision,
        "path": str(model.path),
        "bytes": model.size,
    }


def _listed_conversions(found: Sequence[CachedModel]) -> list[dict[str, Any]]:
    known = {model.path: model for model in found}
    records = []
    for file in converted_files():
        source = known.get(file.model)
        record = {
            "name": source.name if source else str(file.model),
            "kind": "converted",
            "dtype": file.storage,
            "repo": source.repo if source else None,
            "revision": source.revision if source else None,
            "path": str(file.path),
            "bytes": file.size,
        }
        records.append(record)
    return records


def _listed_row(record: Mapping[str, Any]) -> tuple[str, ...]:
    revision = (record["revision"] or "-")[:SHORT_REVISION]
    kind = record["dtype"] or record["kind"]
    return (record["name"], kind, size_text(record["bytes"]), revision, record["path"])


def _require_model(name: str) -> ModelFiles:
    files = find_model(name)
    if files is None:
        raise HubError(f"{name} is not on this machine.", f"Fetch it: gpt2 download {name}.")
    return files


def _described(files: ModelFiles, facts: ModelFacts) -> dict[str, Any]:
    config = facts.config
    return {
        "model": files.name,
        "layers": config.n_layer,
        "heads": config.n_head,
        "width": config.n_embd,
        "context": config.n_positions,
        "vocabulary": config.vocab_size,
        "parameters": {**facts.parameters, "total": sum(facts.parameters.values())},
        "dtype": facts.dtype,
        "bytes": facts.size,
        "license": facts.license,
        "revision": files.revision,
        "path": str(files.config.parent),
    }


def _fact_rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for fact, value in facts.items():
        if isinstance(value, Mapping):
            yield from ((f"{fact}: {part.replace('_', ' ')}", _shown(count)) for part, count in value.items())
        else:
            yield fact, _shown(value)


def _shown(value: str | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else value


def _print_checks(checks: Sequence[tuple[str, FileCheck]], json: bool) -> None:
    if not json:
        rows = [
            (name, check.path.name, str(check.size), check.kind, check.problem or "ok")
            for name, check in checks
        ]
        print_table(("MODEL", "FILE", "BYTES", "CHECK", "RESULT"), rows)
        return
    for name, check in checks:
        record = {
            "model": name,
            "file": check.path.name,
            "path": str(check.path),
            "bytes": check.size,
            "check": check.kind,
            "problem": check.problem or None,
        }
        write_stdout(json_line(record))


def _remove(removals: Sequence[Removal], yes: bool, messages: Messages) -> None:
    if not yes:
        _ask(removals)
    from gpt2cli.hub.removal import remove

    remove(removals)
    _print_removals(removals)
    messages.note(f"Freed {sum(removal.size for removal in removals):,} bytes.")


def _ask(removals: Sequence[Removal]) -> None:
    if not all(stream and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise UsageError("There is no terminal to ask on.", "Use --yes to remove without being asked.")
    for removal in removals:
        print(f"{removal.path} ({removal.size:,} bytes)", file=sys.stderr)
    print("Remove this? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Exit(1)


def _print_removals(removals: Sequence[Removal]) -> None:
    print_table(("BYTES", "PATH"), [(str(removal.size), str(removal.path)) for removal in removals])
