"""The Hugging Face cache on disk: repositories, their snapshots and blobs."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from gpt2cli.checkpoint.architectures import find_architecture
from gpt2cli.checkpoint.whole_file import removed_unless_renamed, whole_file
from gpt2cli.errors import HubError
from gpt2cli.hub.known_models import known_model

PREFIX = "models--"
SEPARATOR = "--"
HASH_CHUNK = 1 << 20
SHA256_DIGITS = 64
# A blob is named by the SHA-256 of a large file and by the git hash of a small one.
HASH_NAME = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
COMMIT = re.compile(r"[0-9a-f]{40}")


def cache_folder() -> Path:
    """Return the folder of all repositories, which huggingface_hub derives from the environment.

    Raises:
        HubError: it is in a home folder, and there is none.
    """
    legacy = os.environ.get("HUGGINGFACE_HUB_CACHE", f"{_home()}/hub")
    return _folder(os.environ.get("HF_HUB_CACHE", legacy))


def assets_folder() -> Path:
    """Return the folder for files derived from models, inside the assets folder of huggingface_hub.

    Raises:
        HubError: it is in a home folder, and there is none.
    """
    return _folder(os.environ.get("HF_ASSETS_CACHE", f"{_home()}/assets")) / "gpt2cli"


def repo_folder(repo: str) -> Path:
    """Return a repository's folder in the cache, whether or not it exists.

    Raises:
        HubError: there is no home folder for the cache.
    """
    return cache_folder() / (PREFIX + repo.replace("/", SEPARATOR))


def repo_of(folder: Path) -> str:
    """Return the repository that a cache folder is named after."""
    return folder.name.removeprefix(PREFIX).replace(SEPARATOR, "/")


def is_commit(name: object) -> bool:
    """Return whether a revision is the full hash of a commit, and no branch or tag."""
    return isinstance(name, str) and COMMIT.fullmatch(name) is not None


def find_snapshot(repo: str, revision: str) -> Path | None:
    """Return the folder of a branch, tag or full commit hash, or None; some of its files may be missing."""
    try:
        folder = repo_folder(repo)
    except HubError:
        return None
    try:
        commit = (folder / "refs" / revision).read_text("ascii", "replace").strip()
    except OSError:
        commit = revision
    snapshot = folder / "snapshots" / commit
    try:
        return snapshot if is_commit(commit) and snapshot.is_dir() else None
    # In a container, HOME may be another user's.
    except PermissionError:
        return None


def write_ref(repo: str, revision: str, commit: str) -> None:
    """Point a branch or tag at a commit."""
    if revision == commit:
        return
    path = repo_folder(repo) / "refs" / revision
    path.parent.mkdir(parents=True, exist_ok=True)
    with removed_unless_renamed(path.with_name(f"{path.name}.{os.getpid()}.tmp")) as aside:
        aside.write_text(commit)
        aside.replace(path)


def read_refs(folder: Path) -> dict[str, str]:
    """Return the commit that each branch or tag of a repository points to."""
    refs = folder / "refs"
    return {
        path.relative_to(refs).as_posix(): path.read_text("ascii", "replace").strip()
        for path in refs.rglob("*")
        if path.is_file()
    }


def snapshots(folder: Path) -> list[Path]:
    """Return the snapshots of a repository."""
    return sorted(path for path in (folder / "snapshots").glob("*") if path.is_dir())


def blob_of(path: Path) -> Path | None:
    """Return the blob that a snapshot's file links to, or None if it is an ordinary file."""
    # Follow only one link: a blob may itself link into a store that repositories share.
    if not path.is_symlink():
        return None
    blob = Path(os.path.normpath(path.parent / path.readlink()))
    return blob if blob.parent.name == "blobs" else None


def link_blob(path: Path, blob: Path) -> None:
    """Put a snapshot's file in its place as a link to a blob, or the blob itself where there are no links."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with removed_unless_renamed(path.with_name(f".{path.name}.{os.getpid()}.tmp")) as aside:
        try:
            aside.symlink_to(os.path.relpath(blob, path.parent))
        except OSError:
            # With its name, the blob loses what tells whether it is sound.
            _keep_hash(path, blob.name)
            blob.replace(path)
        else:
            aside.replace(path)


def hash_in_name(path: Path) -> str | None:
    """Return the hash that the blob of a snapshot's file is named by, or None."""
    blob = blob_of(path)
    return _hash(blob.name) if blob else None


def expected_hash(path: Path) -> str | None:
    """Return the hash that the Hub gave for a file, or None if it was not kept.

    The client keeps it in the name of a blob, in a note beside a file that it fetched into a folder, and in
    the list of a revision's files.
    """
    return hash_in_name(path) or _noted_hash(path) or _listed_hash(path)


def matches_hash(path: Path, expected: str) -> bool:
    """Return whether a file has the expected hash: a SHA-256 or, if it is shorter, a git hash."""
    # Imported here because only downloads and verification need it.
    import hashlib

    size = path.stat().st_size
    digest = hashlib.sha256() if len(expected) == SHA256_DIGITS else hashlib.sha1(b"blob %d\0" % size)
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == expected


def model_folders() -> list[Path]:
    """Return the cache folders that contain a supported model, or part of one."""
    return [folder for folder in entries(cache_folder, f"{PREFIX}*") if _holds_model(folder)]


def entries(folder: Callable[[], Path], pattern: str) -> list[Path]:
    """Return the sorted entries of a cache's folder; none without a home folder that can be read."""
    try:
        return sorted(folder().glob(pattern))
    except (HubError, PermissionError):
        return []


def folder_size(folder: Path) -> int:
    """Return the bytes of the files in a folder, counting each file once however many links it has."""
    return total_size(path.resolve() for path in folder.rglob("*") if path.is_file())


def total_size(paths: Iterable[Path]) -> int:
    """Return the bytes of files, counting repeated paths once."""
    return sum(path.stat().st_size for path in set(paths))


def _note_of(path: Path) -> Path:
    return path.parent / ".cache" / "huggingface" / "download" / f"{path.name}.metadata"


def _keep_hash(path: Path, named: str) -> None:
    note = _note_of(path)
    note.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(note) as file:
        file.write(f"{path.parent.name}\n{named}\n{time.time()}\n".encode())


def _noted_hash(path: Path) -> str | None:
    try:
        _, named, *_ = _note_of(path).read_text("utf-8", "replace").splitlines()
    except (OSError, ValueError):
        return None
    return _hash(named)


def _listed_hash(path: Path) -> str | None:
    snapshot = path.parent
    if snapshot.parent.name != "snapshots":
        return None
    files = _read_value(snapshot.parent.parent / "trees" / f"{snapshot.name}.json", "files")
    listed = files.get(path.name) if isinstance(files, dict) else None
    if not isinstance(listed, dict):
        return None
    # The git hash of a large file is that of the note which stands for it in the repository.
    return _hash(listed.get("lfs_sha256") or listed.get("blob_id"))


def _hash(name: object) -> str | None:
    return name if isinstance(name, str) and HASH_NAME.fullmatch(name) else None


def _home() -> str:
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.environ.get("HF_HOME", f"{caches}/huggingface")


def _folder(name: str) -> Path:
    path = Path(os.path.expandvars(name))
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise HubError(f"{path}: there is no home folder.", "Set HF_HOME to a folder.") from None


def _holds_model(folder: Path) -> bool:
    return known_model(repo_of(folder)) is not None or any(map(_is_supported, snapshots(folder)))


def _is_supported(folder: Path) -> bool:
    """Return whether a folder has the config of a supported model, or of an adapter of one."""
    if find_architecture(_read_value(folder / "config.json", "model_type")):
        return True
    base = _read_value(folder / "adapter_config.json", "base_model_name_or_path")
    if not isinstance(base, str) or not base:
        return False
    places = [Path(base), *snapshots(repo_folder(base))]
    types = (_read_value(place / "config.json", "model_type") for place in places)
    return known_model(base) is not None or any(map(find_architecture, types))


def _read_value(path: Path, key: str) -> object:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return values.get(key) if isinstance(values, dict) else None
