"""The models on this machine and the weights converted from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from gpt2cli.hub.cache import cache_folder
from gpt2cli.hub.converted_files import ConvertedFile, converted_files
from gpt2cli.hub.model_files import CachedModel, bundled_model, cached_models


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


def cache_facts() -> dict[str, str | int | None]:
    """Return the cache's path, the number and size of its models, and the bundled model's name and size."""
    cached, bundled = cached_models(), bundled_model()
    return {
        "cache": str(cache_folder()),
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
