"""Removal of models from the Hugging Face cache, and of the weights converted from them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gpt2cli.checkpoint.conversion_place import stamp_of
from gpt2cli.checkpoint.whole_file import LEFT_SECONDS
from gpt2cli.errors import HubError, UsageError
from gpt2cli.hub.cache import (
    blob_of,
    cache_folder,
    folder_size,
    model_folders,
    read_refs,
    repo_folder,
    snapshots,
    total_size,
)
from gpt2cli.hub.converted_files import all_kept_files, converted_files
from gpt2cli.hub.known_models import BUNDLED_MODEL
from gpt2cli.hub.model_source import model_source

INCOMPLETE = ".incomplete"


@dataclass(frozen=True)
class Removal:
    """A file or folder to remove from the cache; `size` is the number of bytes that this frees."""

    path: Path
    size: int


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
    folders = [repo_folder(repo) for repo in source.repos]
    present = [folder for folder in folders if folder.is_dir()]
    if not present:
        raise HubError(f"{source.name} is not in the cache {cache_folder()}.")
    return present


def repository_removal(folder: Path) -> Removal:
    """Return the removal of a repository with all its revisions."""
    return Removal(folder, folder_size(folder))


def conversion_removals(folder: Path) -> list[Removal]:
    """Return the removals of the weights converted from any revision of a repository."""
    place = folder.resolve()
    made = [file for file in converted_files() if place in file.model.resolve().parents]
    return [Removal(file.path, file.size) for file in made]


def plan_prune() -> list[Removal]:
    """Return the removals of what no revision of a model needs.

    These are leftovers of downloads, unused blobs, snapshots without a ref, and converted weights, which can
    be made again. A repository that is being downloaded is left alone.
    """
    unneeded = [removal for folder in model_folders() for removal in _unneeded(folder)]
    return unneeded + [Removal(path, _size(path)) for path in all_kept_files()]


def remove(removals: Iterable[Removal]) -> None:
    """Remove files, snapshots and repositories.

    Raises:
        OSError: something cannot be removed.
    """
    for removal in removals:
        _remove(removal.path)


def _remove(path: Path) -> None:
    try:
        if path.parent.name == "snapshots":
            _remove_snapshots(path.parent.parent, [path.name])
        elif (path / "snapshots").is_dir():
            _remove_snapshots(path, [snapshot.name for snapshot in snapshots(path)])
            shutil.rmtree(path.parent / ".locks" / path.name, ignore_errors=True)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
            stamp_of(path).unlink(missing_ok=True)
    except OSError as error:
        # What removes a folder names a file by its place in it.
        if not Path(error.filename or "").is_absolute():
            error.filename = str(path)
        raise


def _unneeded(folder: Path) -> Iterator[Removal]:
    blobs = {path for path in (folder / "blobs").glob("*") if path.is_file()}
    incomplete = {blob for blob in blobs if blob.name.endswith(INCOMPLETE)}
    if any(_is_being_written(blob) for blob in incomplete):
        return
    named = set(read_refs(folder).values())
    claimed = {blob for path in snapshots(folder) if path.name in named for blob in _blobs_in(path)}
    for snapshot in snapshots(folder):
        if snapshot.name not in named:
            own = _blobs_in(snapshot) - claimed
            yield Removal(snapshot, total_size(own & blobs) + total_size(_plain_files(snapshot)))
            claimed |= own
    for blob in sorted(blobs - claimed):
        yield Removal(blob, blob.stat().st_size)


def _size(path: Path) -> int:
    return folder_size(path) if path.is_dir() else path.stat().st_size


def _blobs_in(snapshot: Path) -> set[Path]:
    return {blob for path in snapshot.rglob("*") if (blob := blob_of(path))}


def _plain_files(snapshot: Path) -> list[Path]:
    return [path for path in snapshot.rglob("*") if path.is_file() and not path.is_symlink()]


def _is_being_written(incomplete: Path) -> bool:
    from filelock import FileLock, Timeout

    repo = incomplete.parent.parent
    lock = repo.parent / ".locks" / repo.name / f"{incomplete.name.split('.')[0]}.lock"
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        # Some network file systems have no locks.
        return time.time() - incomplete.stat().st_mtime < LEFT_SECONDS


def _remove_snapshots(folder: Path, commits: Sequence[str]) -> None:
    # The client knows which blobs are shared with other repositories.
    from gpt2cli.hub.network.client import scan_cache

    cache = scan_cache(folder.parent)
    # A copy of the repository may have the same commit, and must stay.
    repos = frozenset(repo for repo in cache.repos if Path(repo.repo_path).name == folder.name)
    known = {revision.commit_hash for repo in repos for revision in repo.revisions}
    if known.intersection(commits):
        replace(cache, repos=repos).delete_revisions(*known.intersection(commits)).execute()
