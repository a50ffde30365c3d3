"""The files of a revision of a repository, as the Hub lists them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from gpt2cli.hub import cache as hub_cache
from gpt2cli.hub.network.failures import unlike_the_hub
from gpt2cli.hub.network.requests import LONGEST_WAIT, answer

# Far more than the listing of any model takes.
LONGEST_LISTING = 32 << 20
# No file system has larger files.
LARGEST = 1 << 63


class ListedFile(NamedTuple):
    """The size of a file in bytes and its SHA-256 or git hash, each None if the Hub does not say."""

    size: int | None
    hash: str | None


@dataclass(frozen=True)
class Listing:
    """The files of one revision of a repository."""

    repo: str
    revision: str
    commit: str
    files: Mapping[str, ListedFile]

    @property
    def snapshot(self) -> Path:
        """The cache folder where the files are, or will be."""
        return hub_cache.repo_folder(self.repo) / "snapshots" / self.commit


def request_listing(repo: str, revision: str, note: Callable[[str], None]) -> Listing:
    """Return the files that the Hub lists for a revision.

    Raises:
        HubError: the answer is not a listing.
        TimeoutError: it takes longer than a minute to come.
    """
    from huggingface_hub import constants

    url = f"{constants.ENDPOINT}/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"
    data, end = bytearray(), time.monotonic() + LONGEST_WAIT
    with answer(url, note, timeout=constants.HF_HUB_ETAG_TIMEOUT) as response:
        for chunk in response.iter_raw():
            data += chunk
            if len(data) > LONGEST_LISTING:
                raise unlike_the_hub(f"its list of files is longer than {LONGEST_LISTING:,} bytes")
            # The time limit of a request is one for silence.
            if time.monotonic() > end:
                raise TimeoutError
    try:
        described = json.loads(data)
    except json.JSONDecodeError:
        # It may be a web page.
        raise
    except (ValueError, RecursionError) as error:
        raise unlike_the_hub("its list of files is no JSON of a usual form") from error
    try:
        commit, siblings = described["sha"], described["siblings"]
        files = {sibling["rfilename"]: _file(sibling) for sibling in siblings}
    except (KeyError, TypeError, AttributeError) as error:
        raise unlike_the_hub("it lists files in another form") from error
    if not hub_cache.is_commit(commit):
        raise unlike_the_hub(f"its commit of {repo} is {str(commit)[:80]!r}")
    return Listing(repo, revision, commit, files)


def _file(sibling: Mapping[str, Any]) -> ListedFile:
    size, large = sibling.get("size"), sibling.get("lfs")
    # The git hash of a large file is that of the note which stands for it in the repository.
    named = large.get("sha256") if large else sibling.get("blobId")
    known = isinstance(named, str) and hub_cache.HASH_NAME.fullmatch(named)
    return ListedFile(size if type(size) is int and 0 <= size < LARGEST else None, named if known else None)
