"""The files that make up a checkpoint, in a folder or in the listing of a repository."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gpt2cli.checkpoint.companions.generation_config import GENERATION_CONFIG
from gpt2cli.checkpoint.companions.tokenizer_config import FILES as TOKENIZER_COMPANIONS
from gpt2cli.errors import CheckpointError, HubError

if TYPE_CHECKING:
    from gpt2cli.checkpoint.foreign.adapter import AdapterFiles

CONFIG = "config.json"
SHARD = re.compile(r"[^/\\\0-\x1f]{1,200}\.(safetensors|bin)")
# The first of these that exists is used: safetensors load faster and cannot carry code.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
# Holds the config and the tokenizer too.
GGUF = ".gguf"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


class CheckpointFiles(NamedTuple):
    """A checkpoint's files, and the names of those that are missing.

    The tokenizer may be empty, and there may be no settings for generation.
    """

    config: Path
    weights: tuple[Path, ...]
    tokenizer: tuple[Path, ...]
    generation: Path | None
    missing: tuple[str, ...]


def files_in(folder: Path) -> CheckpointFiles:
    """Return the files of the checkpoint in a folder.

    A missing tokenizer is not reported, because the bundled merges may take its place.

    Raises:
        CheckpointError: the index of sharded weights cannot be read.
    """
    config = folder / CONFIG
    weights = _weights_in(folder)
    missing = [path.name for path in (config, *weights) if not path.is_file()]
    if not weights:
        missing.append(" or ".join(WEIGHTS))
    return CheckpointFiles(config, weights, tokenizer_in(folder), generation_in(folder), tuple(missing))


def adapter_in(folder: Path) -> AdapterFiles | None:
    """Return the files of the adapter in a folder, or None if it has none or lacks its weights."""
    config = folder / ADAPTER_CONFIG
    if not config.is_file():
        return None
    from gpt2cli.checkpoint.foreign.adapter import AdapterFiles

    weights = (path for name in ADAPTER_WEIGHTS if (path := folder / name).is_file())
    return next((AdapterFiles(config, path) for path in weights), None)


def adapter_among(names: Collection[str]) -> list[str]:
    """Return the names that make up an adapter, its config first, or an empty list."""
    weights = [name for name in ADAPTER_WEIGHTS if name in names]
    tokenizer = next((list(files) for files in TOKENIZERS if set(files) <= set(names)), [])
    if not weights or ADAPTER_CONFIG not in names:
        return []
    return [ADAPTER_CONFIG, *tokenizer, *_companions_among(names), weights[0]]


def tokenizer_in(folder: Path) -> tuple[Path, ...]:
    """Return the tokenizer's files in a folder, or an empty tuple if it has none."""
    sets = (tuple(folder / name for name in names) for names in TOKENIZERS)
    vocabulary = next((paths for paths in sets if all(path.is_file() for path in paths)), ())
    companions = (folder / name for name in TOKENIZER_COMPANIONS if vocabulary)
    return (*vocabulary, *(path for path in companions if path.is_file()))


def generation_in(folder: Path) -> Path | None:
    """Return the settings for generation in a folder, or None if it has none."""
    path = folder / GENERATION_CONFIG
    return path if path.is_file() else None


def gguf_in(folder: Path) -> Path | None:
    """Return the only GGUF file in a folder, or None if it has none.

    Raises:
        HubError: it has several.
    """
    found = sorted(path for path in folder.glob(f"*{GGUF}") if path.is_file())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise HubError(f"{folder} has {len(found)} {GGUF} files: {names}.", "Name one of them.")
    return found[0] if found else None


def files_among(names: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the names that make up a checkpoint, weights last, and the names that are missing."""
    weights = next((found for name in WEIGHTS if (found := _weights_among(name, names))), [])
    tokenizer = next((list(files) for files in TOKENIZERS if set(files) <= set(names)), [])
    missing = [] if CONFIG in names else [CONFIG]
    if not tokenizer:
        missing.append(" or ".join(files[0] for files in TOKENIZERS))
    if not weights:
        missing.append(" or ".join(WEIGHTS))
    return [CONFIG, *tokenizer, *_companions_among(names), *weights], missing


def weights_index(weights: Path) -> Path | None:
    """Return the file that lists all shards, or None if the weights are not a shard."""
    name = next((name for name in WEIGHTS if name.endswith(weights.suffix)), weights.name)
    index = weights.with_name(_index_of(name))
    return index if weights.name != name and index.is_file() else None


def lacks_files(where: str | Path, missing: Sequence[str], names: Collection[str] | None = None) -> HubError:
    """Return the error for a folder, or a repository with these names, that lacks files of a model."""
    from gpt2cli.checkpoint.foreign.formats import find_foreign
    from gpt2cli.checkpoint.foreign.stored_names import few

    names = [path.name for path in Path(where).iterdir()] if names is None else names
    text, hint = f"{where} is not a complete model: it lacks {few(missing)}.", ""
    if " or ".join(WEIGHTS) in missing:
        others = sorted(name for name in names if name.endswith(".safetensors"))
        if ADAPTER_CONFIG in names:
            text = f"{where} is an adapter without its weights: it lacks {' or '.join(ADAPTER_WEIGHTS)}."
        elif found := find_foreign(names):
            text = f"{where} holds {found.title} ({found.name}), which gpt2cli does not read."
            hint = found.remedy
        elif gguf := sorted(name for name in names if name.endswith(GGUF)):
            hint = f"It has {gguf[0]}, which can be read from a local path."
        elif others:
            hint = f"If {others[0]} is the model, name this file."
    return HubError(text, hint)


def unreadable_file(path: Path) -> HubError:
    """Return the error for a file that does not hold weights in a format that is read."""
    from gpt2cli.checkpoint.foreign.formats import find_foreign

    if found := find_foreign([path.name]):
        return HubError(f"{path} holds {found.title}, which gpt2cli does not read.", found.remedy)
    return HubError(f"{path} is neither a .safetensors nor a {GGUF} file.")


def _companions_among(names: Collection[str]) -> list[str]:
    """Return the names beside the vocabulary, to be fetched before the weights, which make a model whole."""
    return [name for name in (*TOKENIZER_COMPANIONS, GENERATION_CONFIG) if name in names]


def _weights_in(folder: Path) -> tuple[Path, ...]:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return (folder / name,)
        if (folder / _index_of(name)).is_file():
            return tuple(folder / shard for shard in _shards(folder / _index_of(name)))
    return ()


def _shards(index: Path) -> list[str]:
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
        # A shard lies beside its index and nowhere else.
        if names and all(SHARD.fullmatch(name) for name in names):
            return sorted(names)
        problem: Exception | None = None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = error
    raise CheckpointError(
        f"The weights index {index} is damaged.", "Fetch it again: gpt2 download MODEL with `force`."
    ) from problem


def _weights_among(name: str, names: Collection[str]) -> list[str]:
    if name in names:
        return [name]
    if _index_of(name) not in names:
        return []
    stem, _, suffix = name.partition(".")
    shard = re.compile(rf"{stem}-\d+-of-\d+\.{suffix}")
    return [_index_of(name), *sorted(other for other in names if shard.fullmatch(other))]


def _index_of(weights: str) -> str:
    return f"{weights}.index.json"
