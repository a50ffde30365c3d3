"""The transfer of one file into the cache: resumed where it was cut off, and kept only if it is sound."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gpt2cli.checkpoint.whole_file import removed_unless_renamed
from gpt2cli.errors import HubError
from gpt2cli.hub import cache as hub_cache
from gpt2cli.hub.checks.file_form import malformation
from gpt2cli.hub.network.failures import class_names, host, web_page
from gpt2cli.hub.network.listing import ListedFile, Listing
from gpt2cli.hub.network.requests import answer
from gpt2cli.hub.reporter import Progress

INCOMPLETE = ".incomplete"
# In seconds, between tries that bring nothing. A try that brings something begins the list again.
PAUSES = (0, 1, 2, 4, 8)
LOCK_SECONDS = 0.1
BAD_RANGE = 416
# What network file systems without locks answer. Two processes at once then only make each other start anew.
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass(frozen=True)
class Transfer:
    """The transfer of the file `name` of a listing."""

    listing: Listing
    name: str
    progress: Progress
    note: Callable[[str], None]

    @property
    def file(self) -> ListedFile:
        return self.listing.files[self.name]

    @property
    def size(self) -> int:
        """The size in bytes, 0 if unknown."""
        return self.file.size or 0

    def run(self, force: bool) -> None:
        """Fetch the file, even if its content is in the cache already if forced.

        Raises:
            HubError: it arrives damaged.
            Exception: the client's.
        """
        self.progress(self.name, 0, self.size)
        path = self.listing.snapshot / self.name
        expected = self.file.hash or self._hash_told()
        if expected is None:
            self._fetch_unverified(path)
        else:
            blob = hub_cache.repo_folder(self.listing.repo) / "blobs" / expected
            with self._locked(expected):
                # Another program may have left it.
                if force or not blob.is_file() or not hub_cache.matches_hash(blob, expected):
                    self._fetch_blob(blob)
                hub_cache.link_blob(path, blob)
        self.progress(self.name, self.size, self.size)

    def _fetch_blob(self, blob: Path) -> None:
        partial = blob.with_name(blob.name + INCOMPLETE)
        resumed = partial.exists()
        try:
            self._receive(partial)
        finally:
            if partial.exists() and not _size(partial):
                partial.unlink()
        if not hub_cache.matches_hash(partial, blob.name):
            partial.unlink()
            if not resumed:
                raise self._damaged("its hash differs from the Hub's")
            # The beginning may have come from elsewhere.
            return self._fetch_blob(blob)
        partial.replace(blob)
        return None

    def _fetch_unverified(self, path: Path) -> None:
        with removed_unless_renamed(path.with_name(f".new-{path.name}")) as aside:
            # Without a hash, nothing tells whether a beginning belongs to the rest.
            aside.unlink(missing_ok=True)
            self._receive(aside)
            if problem := malformation(aside):
                raise self._damaged(problem.replace(str(aside), self.name))
            aside.replace(path)

    def _receive(self, partial: Path) -> None:
        """Fetch what a file lacks, again and again while something arrives."""
        pauses, begun = iter(PAUSES), _size(partial)
        while True:
            before = _size(partial)
            try:
                return self._receive_rest(partial)
            except Exception as error:
                kinds = class_names(error)
                if "TransportError" not in kinds:
                    raise
                if _size(partial) > before:
                    pauses = iter(PAUSES)
                pause = next(pauses, None) if _size(partial) > begun else None
                if pause is None:
                    raise
                silent = "TimeoutException" in kinds
                if pause or silent:
                    self.note(
                        f"{host()} {'is silent' if silent else 'cannot be reached'}: waiting for the rest of "
                        f"{self.name}, after {_size(partial):,} of {self.size:,} bytes"
                    )
                time.sleep(pause)

    def _receive_rest(self, partial: Path) -> None:
        from huggingface_hub import constants

        done = _size(partial)
        if self.file.size is not None and done >= self.file.size > 0:
            return None
        headers = {"Range": f"bytes={done}-"} if done else {}
        try:
            with answer(
                self._url, self.note, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, headers=headers
            ) as response:
                self._write(response, partial, done)
        except Exception as error:
            if not done or getattr(getattr(error, "response", None), "status_code", 0) != BAD_RANGE:
                raise
            partial.unlink()
            return self._receive_rest(partial)

    def _write(self, response: Any, partial: Path, done: int) -> None:
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise web_page()
        if not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            done = 0
        partial.parent.mkdir(parents=True, exist_ok=True)
        # What has arrived is kept, however this process ends.
        with partial.open("ab", buffering=0) as file:
            file.truncate(done)
            for chunk in response.iter_raw():
                done += len(chunk)
                if self.file.size is not None and done > self.file.size:
                    file.truncate(0)
                    raise self._damaged(f"it is longer than {self.file.size:,} bytes")
                file.write(chunk)
                self.progress(self.name, done, self.size)
        if done < self.size:
            raise self._damaged(f"it has only {done:,} of {self.size:,} bytes")

    def _hash_told(self) -> str | None:
        """Return the hash that the file's address names, or None; the listing has none."""
        from huggingface_hub import constants

        timeout = constants.HF_HUB_ETAG_TIMEOUT
        with answer(self._url, self.note, timeout=timeout, method="HEAD", follow=False) as response:
            tag = response.headers.get("X-Linked-ETag") or response.headers.get("ETag", "")
        named: str = tag.strip('"')
        return named if hub_cache.HASH_NAME.fullmatch(named) else None

    @property
    def _url(self) -> str:
        from huggingface_hub import constants

        # By commit, because a branch may move between two files.
        return f"{constants.ENDPOINT}/{self.listing.repo}/resolve/{self.listing.commit}/{quote(self.name)}"

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Keep other processes from fetching the same blob, and wait for one that does."""
        from filelock import Timeout

        folder = hub_cache.repo_folder(self.listing.repo)
        lock = folder.parent / ".locks" / folder.name / f"{name}.lock"
        for path in (lock.parent, folder / "blobs"):
            path.mkdir(parents=True, exist_ok=True)
        client: Any = import_module("huggingface_hub.utils")
        with ExitStack() as held:
            try:
                held.enter_context(client.WeakFileLock(lock, timeout=LOCK_SECONDS))
            except Timeout:
                self.note(f"Waiting for another process, which fetches {self.name}")
                held.enter_context(client.WeakFileLock(lock))
            except OSError as error:
                if error.errno not in WITHOUT_LOCKS:
                    raise
            yield

    def _damaged(self, problem: str) -> HubError:
        return HubError(
            f"{self.name} of {self.listing.repo} arrived damaged: {problem}.",
            f"Try again: gpt2 download {self.listing.repo}.",
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
