"""The hashes of what is in a model's files."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gpt2cli.hub.cache import HASH_CHUNK, SHA256_DIGITS, hash_in_name

if TYPE_CHECKING:
    from gpt2cli.hub.model_files import ModelFiles


def content_hashes(files: ModelFiles) -> dict[str, str]:
    """Return the SHA-256 of each file that decides what a model writes, by the file's name.

    A file that the cache names by its SHA-256 is not read.

    Raises:
        OSError: a file cannot be read.
    """
    return {path.name: _sha256(path) for path in _deciding(files)}


def weights_hash(files: ModelFiles) -> bytes:
    """Return the SHA-256 of what a model computes with: its weights, its config and its tokenizer.

    It is the same for the same files under other names.

    Raises:
        OSError: a file cannot be read.
    """
    import hashlib

    hashes = [_sha256(path) for path in _deciding(files) if path != files.generation]
    return hashlib.sha256("".join(hashes).encode()).digest()


def _deciding(files: ModelFiles) -> list[Path]:
    # Config and tokenizer of a GGUF file are read from it.
    read = () if files.unpacked else (files.config, *files.tokenizer)
    adapter = (files.adapter.config,) if files.adapter else ()
    generation = (files.generation,) if files.generation else ()
    return [*files.weights_files, *adapter, *read, *generation]


def _sha256(path: Path) -> str:
    known = hash_in_name(path)
    if known and len(known) == SHA256_DIGITS:
        return known
    status = path.stat()
    return _computed(path, status.st_size, status.st_mtime_ns)


@cache
def _computed(path: Path, size: int, changed: int) -> str:
    # hashlib would load OpenSSL, which takes 7 ms and 3 MB at every start.
    import hashlib

    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
