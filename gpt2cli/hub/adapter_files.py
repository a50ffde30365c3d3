"""Adapters on this machine, and the base models that they name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gpt2cli.errors import HubError, brief
from gpt2cli.hub.cache import find_snapshot
from gpt2cli.hub.checkpoint_files import ADAPTER_WEIGHTS, adapter_in, files_in
from gpt2cli.hub.known_models import known_model
from gpt2cli.hub.model_source import ModelSource, is_there, model_source, path_of

if TYPE_CHECKING:
    from gpt2cli.checkpoint.foreign.adapter import AdapterFiles
    from gpt2cli.hub.model_files import ModelFiles


class LocalAdapter(NamedTuple):
    """An adapter on this machine, and its commit if it is from the Hub."""

    files: AdapterFiles
    revision: str | None


def local_adapter(source: ModelSource) -> LocalAdapter | None:
    """Return the adapter that a name means, or None if it means a whole model, or nothing that is here.

    Raises:
        CheckpointError: the index of sharded weights beside an adapter is damaged.
    """
    folders: dict[Path, str | None] = {}
    if source.path is not None:
        folders[source.path.parent if source.path.name in ADAPTER_WEIGHTS else source.path] = None
    for repo in source.repos:
        if snapshot := find_snapshot(repo, source.revision):
            folders[snapshot] = snapshot.name
    for folder, revision in folders.items():
        if (files := adapter_in(folder)) and files_in(folder).missing:
            return LocalAdapter(files, revision)
    return None


def find_base(
    source: ModelSource, adapter: AdapterFiles, open_model: Callable[[str], ModelFiles | None]
) -> ModelFiles:
    """Return the base model of an adapter, opened by its name.

    Raises:
        HubError: there is no such model, or it cannot be opened; the message names adapter and base.
        CheckpointError: the adapter is damaged or of an unsupported kind.
    """
    from gpt2cli.checkpoint.foreign.adapter import read_adapter_settings

    base = read_adapter_settings(adapter.config).base
    beside = adapter.config.parent / base
    if not known_model(base) and not is_there(path_of(base)) and is_there(beside):
        base = str(beside)
    what = f"{source.spelling} is a LoRA adapter of {brief(base)}"
    advice = f"Set base_model_name_or_path in {adapter.config} to the folder of its base, or to OWNER/NAME."
    try:
        place = model_source(base)
    except HubError as error:
        raise HubError(f"{what}, which is not on this machine.", advice) from error
    if local_adapter(place):
        raise HubError(f"{what}, which is an adapter too.", advice)
    try:
        files = open_model(base)
    except HubError as error:
        raise HubError(f"{what}, which cannot be opened: {error.message}", error.hint or advice) from error
    if files is None:
        raise HubError(f"{what}, which is not on this machine.", f"Fetch it: gpt2 download {brief(base)}.")
    return files
