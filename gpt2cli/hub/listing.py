"""The models on this machine and the weights converted from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gpt2cli.checkpoint.foreign.adapter import read_adapter_settings
from gpt2cli.errors import CheckpointError, HubError
from gpt2cli.hub import cache as hub_cache
from gpt2cli.hub.checkpoint_files import adapter_in
from gpt2cli.hub.converted_files import ConvertedFile, converted_files
from gpt2cli.hub.known_models import BUNDLED_MODEL, known_model
from gpt2cli.hub.model_files import files_in_snapshot, find_model
from gpt2cli.hub.model_source import BUNDLED_FOLDER, DEFAULT_REVISION


class CachedModel(NamedTuple):
    """A complete model on this machine; `size` is in bytes, and `find_model` accepts the name."""

    name: str
    repo: str | None
    revision: str | None
    path: Path
    size: int


@dataclass(frozen=True)
class ListedModel:
    """A model, or weights converted from one to `dtype`; `size` is in bytes."""

    name: str
    kind: Literal["model", "converted"]
    dtype: str | None
    repo: str | None
    revision: str | None
    path: Path
    size: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the model in JSON output."""
        values = asdict(self)
        size = values.pop("size")
        return {**values, "path": str(self.path), "bytes": size}


def list_models() -> list[ListedModel]:
    """Return the bundled model, the complete models in the cache, and the weights converted from models."""
    bundled = bundled_model()
    models = [*([bundled] if bundled else []), *cached_models()]
    by_path = {model.path: model for model in models}
    return [_whole(model) for model in models] + [_converted(file, by_path) for file in converted_files()]


def cached_models() -> list[CachedModel]:
    """Return the models that are complete in the Hugging Face cache, sorted by name."""
    models = [
        CachedModel(
            name=_cached_name(folder, snapshot.name),
            repo=hub_cache.repo_of(folder),
            revision=snapshot.name,
            path=snapshot,
            size=hub_cache.folder_size(snapshot),
        )
        for folder in hub_cache.model_folders()
        for snapshot in hub_cache.snapshots(folder)
        if _is_whole(hub_cache.repo_of(folder), snapshot)
    ]
    return sorted(models, key=lambda model: model.name)


def bundled_model() -> CachedModel | None:
    """Return the model that comes with the package, or None if this installation lacks it."""
    if not _is_whole(BUNDLED_MODEL, BUNDLED_FOLDER):
        return None
    return CachedModel(BUNDLED_MODEL, None, None, BUNDLED_FOLDER, hub_cache.folder_size(BUNDLED_FOLDER))


def cache_facts() -> dict[str, str | int | None]:
    """Return the cache's path, the number and size of its models, and the bundled model's name and size.

    The path is None without a home folder.
    """
    cached, bundled = cached_models(), bundled_model()
    try:
        cache = str(hub_cache.cache_folder())
    except HubError:
        cache = None
    return {
        "cache": cache,
        "cached_models": len(cached),
        "cached_bytes": sum(model.size for model in cached),
        "bundled_model": bundled.name if bundled else None,
        "bundled_bytes": bundled.size if bundled else None,
    }


def _whole(model: CachedModel) -> ListedModel:
    return ListedModel(model.name, "model", None, model.repo, model.revision, model.path, model.size)


def _converted(file: ConvertedFile, models: Mapping[Path, CachedModel]) -> ListedModel:
    source = models.get(file.model)
    return ListedModel(
        source.name if source else str(file.model),
        "converted",
        file.storage,
        source.repo if source else None,
        source.revision if source else None,
        file.path,
        file.size,
    )


def _is_whole(name: str, folder: Path) -> bool:
    try:
        if files_in_snapshot(name, folder):
            return True
        adapter = adapter_in(folder)
        return adapter is not None and find_model(read_adapter_settings(adapter.config).base) is not None
    except (CheckpointError, HubError):
        return False


def _cached_name(folder: Path, commit: str) -> str:
    repo = hub_cache.repo_of(folder)
    known = known_model(repo)
    base = known.name if known else repo
    refs = sorted(ref for ref, target in hub_cache.read_refs(folder).items() if target == commit)
    if DEFAULT_REVISION in refs:
        return base
    return f"{base}@{refs[0] if refs else commit}"
