"""The Hub's client, silenced: it lists and fetches files, and each of its errors becomes one sentence."""

from __future__ import annotations

import inspect
import os
import shutil
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2cli.errors import Error, HubError
from gpt2cli.hub import cache as hub_cache
from gpt2cli.hub.network.failures import explain
from gpt2cli.hub.reporter import Progress

if TYPE_CHECKING:
    from huggingface_hub import HFCacheInfo

# The client reads these only once, on import.
QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_EXPERIMENTAL_WARNING": "1",
    "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",
    "HF_HUB_VERBOSITY": "critical",
}
OWN_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
# Where a network inspects connections, these are often set, for requests and for curl.
OTHER_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True)
class Listing:
    """The files of one revision of a repository, with their sizes in bytes."""

    repo: str
    revision: str
    commit: str
    files: Mapping[str, int]

    @property
    def snapshot(self) -> Path:
        """The cache folder where the files are, or will be."""
        return hub_cache.repo_folder(self.repo) / "snapshots" / self.commit


def list_repository(repo: str, revision: str) -> Listing:
    """Return the files that the Hub lists for a revision.

    Raises:
        HubError: the revision does not exist, or the Hub cannot list it; the message says why.
    """
    with _one_sentence(repo, revision):
        from huggingface_hub import HfApi, constants

        info = HfApi().model_info(
            repo, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
        files = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        return Listing(repo, revision, str(info.sha), files)


def absent_files(listing: Listing, names: Collection[str], force: bool) -> dict[str, int]:
    """Return the named files that must be downloaded, with their sizes in bytes."""
    snapshot = hub_cache.find_snapshot(listing.repo, listing.commit)
    here = [name for name in names if snapshot and not force and (snapshot / name).is_file()]
    return {name: listing.files[name] for name in names if name not in here}


def require_space(listing: Listing, names: Collection[str], force: bool) -> None:
    """Check that the cache's disk has room for the files that must be downloaded.

    Raises:
        HubError: it does not; the message gives the bytes needed and available.
    """
    needed = sum(absent_files(listing, names, force).values())
    folder = hub_cache.cache_folder()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    available = shutil.disk_usage(there).free
    if needed > available:
        raise HubError(
            f"{listing.repo} needs {needed:,} bytes, but {folder} has only {available:,} bytes available.",
            "Free some space, or set HF_HOME to a folder on another disk.",
        )


def fetch_files(listing: Listing, names: Collection[str], force: bool, progress: Progress) -> None:
    """Download files into the cache and check each against its hash.

    Raises:
        HubError: a file cannot be fetched; the message says why.
    """
    with _one_sentence(listing.repo, listing.revision):
        for name, size in absent_files(listing, names, force).items():
            _fetch_file(listing, name, size, force, progress)


def publish(listing: Listing) -> None:
    """Point the revision at the fetched commit.

    Raises:
        HubError: the cache cannot be written.
    """
    with _one_sentence(listing.repo, listing.revision):
        hub_cache.write_ref(listing.repo, listing.revision, listing.commit)


def scan_cache(folder: Path) -> HFCacheInfo:
    """Return the client's view of a cache."""
    with _quiet():
        from huggingface_hub import scan_cache_dir

        return scan_cache_dir(folder)


def _fetch_file(listing: Listing, name: str, size: int, force: bool, progress: Progress) -> None:
    from huggingface_hub import hf_hub_download

    options: dict[str, Any] = {}
    # Not every release can report the progress of a single file.
    if "tqdm_class" in inspect.signature(hf_hub_download).parameters:
        options["tqdm_class"] = _progress_bar(name, size, progress)
    progress(name, 0, size)
    # By commit, because a branch that points to an incomplete snapshot would hide the complete one before it.
    fetched = hf_hub_download(listing.repo, name, revision=listing.commit, force_download=force, **options)
    progress(name, size, size)
    _require_hash(listing, Path(fetched))


def _progress_bar(name: str, size: int, progress: Progress) -> type:
    """Return a class that the client uses like tqdm, which reports the progress of one file."""

    class Bar:
        def __init__(self, *_: Any, initial: int = 0, total: int | None = None, **__: Any) -> None:
            self.n = initial
            self.total = total

        def update(self, count: float | None = 1) -> None:
            self.n += int(count or 0)
            progress(name, min(self.n, size), size)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def ignore(self, *_: Any, **__: Any) -> None:
            pass

        # If `update_transfer` exists, the client does not make a second bar for the network.
        update_transfer = set_transfer_postfix_str = set_postfix_str = refresh = close = ignore

    return Bar


def _require_hash(listing: Listing, path: Path) -> None:
    # The client only compares sizes.
    expected = hub_cache.expected_hash(path)
    if expected and not hub_cache.matches_hash(path, expected):
        blob = hub_cache.blob_of(path)
        path.unlink()
        if blob:
            blob.unlink()
        raise HubError(
            f"{path.name} of {listing.repo} arrived damaged: its hash differs from the Hub's.",
            f"Try again: gpt2 download {listing.repo}.",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    _trust_what_requests_does()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _trust_what_requests_does() -> None:
    """Have the client trust the certificates that the variables of requests and curl name.

    Its own variables take precedence.

    Raises:
        HubError: one of its own names what does not exist.
    """
    for name in OWN_CERTIFICATES:
        if value := os.environ.get(name):
            if not Path(value).exists():
                raise HubError(f"{name} is {value}, which does not exist.", "Correct it, or unset it.")
            return
    for name in OTHER_CERTIFICATES:
        path = Path(os.environ.get(name, ""))
        if os.environ.get(name) and path.exists():
            os.environ["SSL_CERT_DIR" if path.is_dir() else "SSL_CERT_FILE"] = str(path)
            return


@contextmanager
def _one_sentence(repo: str, revision: str) -> Iterator[None]:
    try:
        with _quiet():
            yield
    # The client wraps its own broken pipes, so this one comes from the pipe that the progress is written to.
    except (Error, BrokenPipeError):
        raise
    except Exception as error:
        raise explain(error, repo, revision) from error
