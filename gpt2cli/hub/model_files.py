"""A model's files, found on this machine or else downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.roles import HEAD
from gpt2cli.errors import HubError, UsageError
from gpt2cli.hub import cache as hub_cache
from gpt2cli.hub.adapter_files import LocalAdapter, find_base, local_adapter
from gpt2cli.hub.checkpoint_files import (
    ADAPTER_CONFIG,
    CONFIG,
    GGUF,
    TOKENIZERS,
    WEIGHTS,
    CheckpointFiles,
    adapter_among,
    adapter_in,
    files_among,
    files_in,
    generation_in,
    gguf_in,
    lacks_files,
    tokenizer_in,
    unreadable_file,
)
from gpt2cli.hub.known_models import BUNDLED_MODEL, shares_merges
from gpt2cli.hub.model_source import ModelSource, model_source
from gpt2cli.hub.reporter import Reporter

if TYPE_CHECKING:
    from gpt2cli.checkpoint.foreign.adapter import AdapterFiles
    from gpt2cli.checkpoint.weights import Note
    from gpt2cli.hub.network.listing import Listing
    from gpt2cli.ops.operations import StoredTensor

TRUE = ("1", "ON", "YES", "TRUE")


class ModelFiles(NamedTuple):
    """The files of one model.

    `tokenizer` is empty if the bundled GPT-2 merges take its place. `generation` is its
    generation_config.json, if it has one. Of a model that is an adapter, config and weights are those of its
    base. Of a GGUF file, config and tokenizer are in the folder `unpacked`.
    """

    name: str
    revision: str | None
    config: Path
    weights: tuple[Path, ...]
    tokenizer: tuple[Path, ...]
    generation: Path | None = None
    adapter: AdapterFiles | None = None
    unpacked: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder that the model is in."""
        return self.adapter.config.parent if self.adapter else self.weights[0].parent

    @property
    def weights_files(self) -> tuple[Path, ...]:
        """The files of weights, an adapter's first."""
        return (self.adapter.weights, *self.weights) if self.adapter else self.weights

    @property
    def sources(self) -> tuple[Path, ...]:
        """All files that decide the weights, the one that the model is named after first."""
        return (*self.weights_files, self.adapter.config) if self.adapter else self.weights

    def read_config(self) -> ModelConfig:
        """Read the config.

        Raises:
            CheckpointError: it is damaged, or describes another architecture.
        """
        config = ModelConfig.from_json(self.config)
        if not self.adapter:
            return config
        from gpt2cli.checkpoint.foreign.merging import adapted_config

        return adapted_config(config, self.adapter)

    def read_checkpoint(self, note: Note | None = None) -> tuple[ModelConfig, dict[str, StoredTensor]]:
        """Read the weights, with the adapter merged, and the config, which tells whether their head is tied.

        `note` receives what the user should know of the weights. Those of a GGUF file may be quantized.

        Raises:
            CheckpointError: the files are damaged or do not fit together.
        """
        from gpt2cli.checkpoint.weights import load_weights, no_note

        note = note or no_note
        config = ModelConfig.from_json(self.config)
        if self.unpacked:
            from gpt2cli.checkpoint.gguf.unpacked import map_unpacked

            # An adapter can only be merged into numbers.
            weights = map_unpacked(
                self.weights[0], self.unpacked, config, dequantize=self.adapter is not None
            )
        else:
            weights = load_weights(self.weights, config, note)
        if self.adapter:
            from gpt2cli.checkpoint.foreign.merging import merge_adapter

            if self.adapter.config.parent == self.config.parent:
                note(f"{self.adapter.weights}: merging this LoRA adapter into the model beside it.")
            config = self.read_config()
            weights = merge_adapter(weights, config, self.adapter, note)
        return replace(config, tie_word_embeddings=HEAD not in weights), weights


def find_model(name: str) -> ModelFiles | None:
    """Return the files of a model, or None if it is not complete on this machine; never use the network.

    Raises:
        HubError: the name is unknown, its path is not a complete model, or it is an adapter without its base.
        CheckpointError: the index of sharded weights is damaged, or an adapter is not supported.
    """
    source = model_source(name)
    if adapter := local_adapter(source):
        return _with_base(source, adapter, find_model)
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
    if not force and (adapter := local_adapter(source)):
        return _with_base(source, adapter, partial(fetch_model, offline=offline, reporter=reporter))
    files = _find_unless_forced(source, name, force)
    return files or _download(source, offline, force, reporter or Reporter())


def plan_download(name: str, *, offline: bool = False, force: bool = False) -> Mapping[str, int]:
    """Return the files that `fetch_model` would download, with their sizes in bytes.

    Raises:
        UsageError, HubError: as `fetch_model` does.
    """
    source = model_source(name)
    if not force and (adapter := local_adapter(source)):
        from gpt2cli.checkpoint.foreign.adapter import read_adapter_settings

        return plan_download(read_adapter_settings(adapter.files.config).base, offline=offline)
    if _find_unless_forced(source, name, force):
        return {}
    _require_downloads(source, offline)
    listing = _list_repository(source, Reporter())
    from gpt2cli.hub.network import client as hub_client

    return hub_client.absent_files(listing, _needed_files(source, listing.files), force)


def files_in_snapshot(name: str, snapshot: Path) -> ModelFiles | None:
    """Return the files of a model in a snapshot, or None if some are missing."""
    files = files_in(snapshot)
    # The bundled merges are OpenAI's. Other models of the same size may have another vocabulary.
    if files.missing or not (files.tokenizer or shares_merges(name)):
        return None
    return _model_files(name, snapshot.name, files)


def _files_at(name: str, path: Path) -> ModelFiles:
    if path.is_file():
        return _files_beside(name, path)
    if name == BUNDLED_MODEL and not path.is_dir():
        raise HubError("This installation lacks the bundled model stories.", "Install gpt2cli again.")
    files = files_in(path)
    if files.missing and (gguf := gguf_in(path)):
        return _files_unpacked(name, gguf)
    if files.missing:
        raise lacks_files(path, files.missing)
    # As transformers does, an adapter beside a whole model is taken for one of this model.
    return _model_files(name, None, files)._replace(adapter=adapter_in(path))


def _files_beside(name: str, weights: Path) -> ModelFiles:
    if weights.suffix == GGUF:
        return _files_unpacked(name, weights)
    if weights.suffix not in {Path(known).suffix for known in WEIGHTS}:
        raise unreadable_file(weights)
    config = weights.with_name(CONFIG)
    if not config.is_file():
        raise HubError(f"{weights} has no config.json next to it.")
    folder = weights.parent
    return ModelFiles(name, None, config, (weights,), tokenizer_in(folder), generation_in(folder))


def _files_unpacked(name: str, weights: Path) -> ModelFiles:
    from gpt2cli.hub.converted_files import unpacked_folder

    folder = unpacked_folder(weights)
    tokenizer = (folder / TOKENIZERS[0][0],)
    return ModelFiles(name, None, folder / CONFIG, (weights,), tokenizer, unpacked=folder)


def _with_base(
    source: ModelSource, adapter: LocalAdapter, open_model: Callable[[str], ModelFiles | None]
) -> ModelFiles:
    base = find_base(source, adapter.files, open_model)
    folder = adapter.files.config.parent
    return base._replace(
        name=source.name,
        revision=adapter.revision,
        tokenizer=tokenizer_in(folder) or base.tokenizer,
        generation=generation_in(folder) or base.generation,
        adapter=adapter.files,
    )


def _model_files(name: str, revision: str | None, files: CheckpointFiles) -> ModelFiles:
    return ModelFiles(name, revision, files.config, files.weights, files.tokenizer, files.generation)


def _find_unless_forced(source: ModelSource, name: str, force: bool) -> ModelFiles | None:
    if not force:
        return find_model(name)
    if source.path is not None:
        raise UsageError(f"{source.name} is not on the Hub.", "Leave out `force`.")
    return None


def _download(source: ModelSource, offline: bool, force: bool, reporter: Reporter) -> ModelFiles:
    _require_downloads(source, offline)
    # Without a home folder for the cache, nothing is fetched.
    hub_cache.cache_folder()
    listing = _list_repository(source, reporter)
    config, *others = _needed_files(source, listing.files)
    from gpt2cli.hub.network import client as hub_client

    hub_client.require_space(listing, [config, *others], force)
    with reporter.fetching(source.spelling) as progress:
        hub_client.fetch_files(listing, [config], force, progress, reporter.note)
        # Check the config before downloading the weights of a model that may be of another architecture.
        if config == ADAPTER_CONFIG:
            from gpt2cli.checkpoint.foreign.adapter import read_adapter_settings

            read_adapter_settings(listing.snapshot / config)
        else:
            ModelConfig.from_json(listing.snapshot / config)
        hub_client.fetch_files(listing, others, force, progress, reporter.note)
    if config == ADAPTER_CONFIG:
        hub_client.publish(listing)
        return fetch_model(source.spelling, offline=offline, reporter=reporter)
    files = files_in_snapshot(source.name, listing.snapshot)
    if files is None:
        raise HubError(f"{source.name} is incomplete: its weights index lists files that are missing.")
    hub_client.publish(listing)
    return files


def _require_downloads(source: ModelSource, offline: bool) -> None:
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    if offline or value.upper() in TRUE:
        raise HubError(
            f"{source.spelling} is not on this machine, and downloads are off.",
            f"Run gpt2 download {source.spelling} without `offline` and HF_HUB_OFFLINE.",
        )


def _list_repository(source: ModelSource, reporter: Reporter) -> Listing:
    # Importing the client takes a tenth of a second or more.
    from gpt2cli.hub.network import client as hub_client

    return hub_client.list_repository(source.repos[0], source.revision, reporter.note)


def _needed_files(source: ModelSource, names: Collection[str]) -> list[str]:
    needed, missing = files_among(names)
    if missing and (adapter := adapter_among(names)):
        return adapter
    if missing:
        raise lacks_files(source.spelling, missing, names)
    return needed
