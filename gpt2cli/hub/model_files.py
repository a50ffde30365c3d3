"""A model's files, found on this machine or else downloaded."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.errors import HubError, UsageError
from gpt2cli.hub import cache as hub_cache
from gpt2cli.hub.checkpoint_files import CONFIG, WEIGHTS, files_among, files_in, tokenizer_in
from gpt2cli.hub.known_models import BUNDLED_MODEL, known_model
from gpt2cli.hub.model_source import ModelSource, model_source
from gpt2cli.hub.reporter import Reporter

if TYPE_CHECKING:
    from gpt2cli.hub.client import Listing

TRUE = ("1", "ON", "YES", "TRUE")


class ModelFiles(NamedTuple):
    """The files of one model; `tokenizer` is empty if the bundled GPT-2 merges take its place."""

    name: str
    revision: str | None
    config: Path
    weights: tuple[Path, ...]
    tokenizer: tuple[Path, ...]


def find_model(name: str) -> ModelFiles | None:
    """Return the files of a model, or None if it is not complete on this machine; never use the network.

    Raises:
        HubError: the name is unknown, or its path is not a complete model.
        CheckpointError: the index of sharded weights is damaged.
    """
    source = model_source(name)
    if source.path is not None:
        return _files_at(source.name, source.path)
    for repo in source.repos:
        snapshot = hub_cache.find_snapshot(repo, source.revision)
        if snapshot and (files := files_in_snapshot(source.name, snapshot)):
            return files
    return None


def fetch_model(
    name: str, *, offline: bool = False, force: bool = False, reporter: Reporter | None = None
) -> ModelFiles:
    """Return the files of a model, downloading them if they are missing or `force` is true.

    Raises:
        UsageError: `force` is true, but the model is not on the Hub.
        HubError: the model cannot be found or fetched; the message says why.
        CheckpointError: the repository has another architecture.
    """
    source = model_source(name)
    files = _find_unless_forced(source, name, force)
    return files or _download(source, offline, force, reporter or Reporter())


def plan_download(name: str, *, offline: bool = False, force: bool = False) -> Mapping[str, int]:
    """Return the files that `fetch_model` would download, with their sizes in bytes.

    Raises:
        UsageError, HubError: as `fetch_model` does.
    """
    source = model_source(name)
    if _find_unless_forced(source, name, force):
        return {}
    listing = _list_repository(source, offline)
    from gpt2cli.hub import client as hub_client

    return hub_client.absent_files(listing, _needed_files(source, listing.files), force)


def files_in_snapshot(name: str, snapshot: Path) -> ModelFiles | None:
    """Return the files of a model in a snapshot, or None if some are missing."""
    files = files_in(snapshot)
    # The bundled merges are OpenAI's. Other models of the same size may have another vocabulary.
    if files.missing or not (files.tokenizer or known_model(name)):
        return None
    return ModelFiles(name, snapshot.name, files.config, files.weights, files.tokenizer)


def cache_folders(name: str) -> list[Path]:
    """Return the cache folders with files of a model, of any revision.

    Raises:
        UsageError: the model is the bundled one, or the name is a path.
        HubError: the name is unknown, or the cache has no files of the model.
    """
    source = model_source(name)
    if source.path is not None:
        where = "is part of gpt2cli" if source.name == BUNDLED_MODEL else "is a path outside the cache"
        raise UsageError(f"{source.name} {where}.", "Only downloaded models can be removed.")
    folders = [hub_cache.repo_folder(repo) for repo in source.repos]
    present = [folder for folder in folders if folder.is_dir()]
    if not present:
        raise HubError(f"{source.name} is not in the cache {hub_cache.cache_folder()}.")
    return present


def _files_at(name: str, path: Path) -> ModelFiles:
    if path.is_file():
        return _files_beside(name, path)
    if name == BUNDLED_MODEL and not path.is_dir():
        raise HubError("This installation lacks the bundled model stories.", "Install gpt2cli again.")
    files = files_in(path)
    if files.missing:
        raise HubError(f"{path} is not a complete model: it lacks {', '.join(files.missing)}.")
    return ModelFiles(name, None, files.config, files.weights, files.tokenizer)


def _files_beside(name: str, weights: Path) -> ModelFiles:
    if weights.suffix not in {Path(known).suffix for known in WEIGHTS}:
        raise HubError(f"{weights} is not a .safetensors file.")
    config = weights.with_name(CONFIG)
    if not config.is_file():
        raise HubError(f"{weights} has no config.json next to it.")
    return ModelFiles(name, None, config, (weights,), tokenizer_in(weights.parent))


def _find_unless_forced(source: ModelSource, name: str, force: bool) -> ModelFiles | None:
    if not force:
        return find_model(name)
    if source.path is not None:
        raise UsageError(f"{source.name} is not on the Hub.", "Leave out `force`.")
    return None


def _download(source: ModelSource, offline: bool, force: bool, reporter: Reporter) -> ModelFiles:
    listing = _list_repository(source, offline)
    config, *others = _needed_files(source, listing.files)
    from gpt2cli.hub import client as hub_client

    hub_client.require_space(listing, [config, *others], force)
    with reporter.fetching(source.spelling) as progress:
        hub_client.fetch_files(listing, [config], force, progress)
        # Check the config before downloading the weights of what may not be a GPT-2.
        ModelConfig.from_json(listing.snapshot / config)
        hub_client.fetch_files(listing, others, force, progress)
    files = files_in_snapshot(source.name, listing.snapshot)
    if files is None:
        raise HubError(f"{source.name} is incomplete: its weights index lists files that are missing.")
    hub_client.publish(listing)
    return files


def _list_repository(source: ModelSource, offline: bool) -> Listing:
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    if offline or value.upper() in TRUE:
        raise HubError(
            f"{source.spelling} is not on this machine, and downloads are off.",
            f"Run gpt2 download {source.spelling} without `offline` and HF_HUB_OFFLINE.",
        )
    # Importing the client takes a tenth of a second or more.
    from gpt2cli.hub import client as hub_client

    return hub_client.list_repository(source.repos[0], source.revision)


def _needed_files(source: ModelSource, names: Collection[str]) -> list[str]:
    needed, missing = files_among(names)
    if missing:
        raise HubError(f"{source.spelling} lacks {', '.join(missing)}.", "It is not a usable GPT-2.")
    return needed
