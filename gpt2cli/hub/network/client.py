"""The Hub's client, silenced: each of its errors becomes one sentence."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gpt2cli.errors import Error, HubError
from gpt2cli.hub import cache as hub_cache
from gpt2cli.hub.network.failures import explain
from gpt2cli.hub.network.listing import Listing, request_listing
from gpt2cli.hub.network.transfer import Transfer
from gpt2cli.hub.reporter import Progress

if TYPE_CHECKING:
    from huggingface_hub import HFCacheInfo

# Receives one line that the user should read.
Note: TypeAlias = Callable[[str], None]

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


def list_repository(repo: str, revision: str, note: Note) -> Listing:
    """Return the files that the Hub lists for a revision.

    Raises:
        HubError: the revision does not exist, or the Hub cannot list it; the message says why.
    """
    with _one_sentence(repo, revision):
        return request_listing(repo, revision, note)


def absent_files(listing: Listing, names: Collection[str], force: bool) -> dict[str, int]:
    """Return the named files that must be downloaded, with their sizes in bytes."""
    snapshot = hub_cache.find_snapshot(listing.repo, listing.commit)
    here = [name for name in names if snapshot and not force and (snapshot / name).is_file()]
    return {name: listing.files[name].size or 0 for name in names if name not in here}


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


def fetch_files(
    listing: Listing, names: Collection[str], force: bool, progress: Progress, note: Note
) -> None:
    """Download files into the cache and check each against its hash, or else its size and form.

    Raises:
        HubError: a file cannot be fetched; the message says why.
    """
    with _one_sentence(listing.repo, listing.revision):
        for name in absent_files(listing, names, force):
            Transfer(listing, name, progress, note).run(force)


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
