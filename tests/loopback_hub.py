"""A Hub on 127.0.0.1 that serves folders as repositories and fails on demand."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

# What the Hub keeps in Git LFS: named by its SHA-256, and sent by another host.
LARGE = (".safetensors", ".bin", ".h5")
ALWAYS = 1000
API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/(?P<what>revision|tree)/(?P<revision>[^/]+)")
RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@dataclass(frozen=True)
class Request:
    """Record a request: its method, its path without the query, its headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Fault:
    """Go wrong for paths that contain `where` and `repo`, as many times as `times` says."""

    where: str
    times: int
    repo: str = ""
    status: int | None = None
    code: str | None = None
    message: str | None = None
    page: bytes = b""
    encoding: str = ""
    wait: str = ""
    endless: bool = False
    hangs: bool = False
    after: int | None = None
    stalls: bool = False
    corrupts: bool = False


@dataclass
class Repository:
    """The folder of each commit, and the commit of each branch or tag."""

    commits: dict[str, Path] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, revision: str) -> str | None:
        found = self.refs.get(revision, revision)
        return found if found in self.commits else None


class LoopbackHub:
    """Serve repositories at `url` inside a `with` block, and keep all `requests`.

    With a certificate, a PEM file that has its key too, the hub speaks TLS.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.requests: list[Request] = []
        self.repositories: dict[str, Repository] = {}
        self.declared_sizes: dict[str, int] = {}
        # Changes a listing before it is sent, and the ETag of each file.
        self.alter: Callable[[dict[str, Any]], Any] = lambda info: info
        self.tag: Callable[[str], str] = lambda name: f'"{name}"'
        self.faults: list[Fault] = []
        self.ranges = True
        self.stalled = threading.Event()
        self.released = threading.Event()
        hub = self

        class Handler(_Handler):
            def __init__(self, *args: Any, **options: Any) -> None:
                self.hub = hub
                super().__init__(*args, **options)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.scheme = "http"
        if certificate:
            self.scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> LoopbackHub:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        """The paths of all requests so far."""
        return [request.path for request in self.requests]

    def add(self, repo: str, folder: Path, revision: str = "main") -> str:
        """Serve a folder as a branch or tag of a repository, and return its commit."""
        content = hashlib.sha1(f"{repo} {revision}".encode())
        for path in sorted(folder.iterdir()):
            content.update(path.name.encode() + path.read_bytes())
        commit = content.hexdigest()
        repository = self.repositories.setdefault(repo, Repository())
        repository.commits[commit] = folder
        repository.refs[revision] = commit
        return commit

    def throttle(self, where: str, wait: str, times: int = 1) -> None:
        """Answer paths that contain `where` with the request to wait for some seconds."""
        self.faults.append(Fault(where, times, status=429, wait=wait))

    def fail(
        self, where: str, status: int, code: str | None = None, message: str | None = None, repo: str = ""
    ) -> None:
        """Answer paths that contain `where` and `repo` with an error."""
        self.faults.append(Fault(where, ALWAYS, repo, status=status, code=code, message=message))

    def show_page(self, where: str) -> None:
        """Answer paths that contain `where` with a web page, as the login page of a network does."""
        self.faults.append(Fault(where, ALWAYS, status=200, page=b"<!doctype html><p>Log in</p>"))

    def flood(self, where: str, status: int) -> None:
        """Answer paths that contain `where` with a body that never ends."""
        self.faults.append(Fault(where, ALWAYS, status=status, endless=True))

    def hang(self, where: str) -> None:
        """Never answer paths that contain `where`."""
        self.faults.append(Fault(where, ALWAYS, hangs=True))

    def cut(self, where: str, after: int, times: int = 1) -> None:
        """Close the connection after some bytes of the body."""
        self.faults.append(Fault(where, times, after=after))

    def stall(self, where: str, after: int) -> None:
        """Send some bytes of the body, set `stalled`, and wait until `released` is set."""
        self.faults.append(Fault(where, 1, after=after, stalls=True))

    def corrupt(self, where: str) -> None:
        """Send other bytes than the file's, as many as it has."""
        self.faults.append(Fault(where, ALWAYS, corrupts=True))


def etag(path: Path) -> str:
    """Return the hash that the Hub names a file by."""
    data = path.read_bytes()
    if path.suffix in LARGE:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append(Request(self.command, path, headers))
        fault = self._fault(path)
        if fault and fault.hangs:
            self.hub.released.wait(60)
            self.close_connection = True
            return
        if fault and fault.endless:
            self._flood(fault.status)
            return
        if fault and fault.status is not None:
            self._refuse(
                fault.status,
                fault.code,
                message=fault.message,
                page=fault.page,
                encoding=fault.encoding,
                wait=fault.wait,
            )
            return
        if found := API.fullmatch(path):
            self._list(found["repo"], found["what"], found["revision"])
        else:
            self._resolve(path, fault)

    def _fault(self, path: str) -> Fault | None:
        # What spoils a body waits for one: neither a HEAD nor a redirect to the storage has it.
        sends_body = self.command == "GET" and (path.startswith("/cdn/") or not path.endswith(LARGE))
        for fault in self.hub.faults:
            spoils_body = fault.after is not None or fault.corrupts
            if (
                fault.where in path
                and fault.repo in path
                and fault.times > 0
                and (sends_body or not spoils_body)
            ):
                fault.times -= 1
                return fault
        return None

    def _find(self, repo: str, revision: str) -> tuple[str, Path] | None:
        repository = self.hub.repositories.get(repo)
        if repository is None:
            self._refuse(404, "RepoNotFound")
            return None
        commit = repository.commit(revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound")
            return None
        return commit, repository.commits[commit]

    def _list(self, repo: str, what: str, revision: str) -> None:
        found = self._find(repo, revision)
        if found is None:
            return
        commit, folder = found
        siblings, tree = [], []
        for path in sorted(folder.iterdir()):
            size = self.hub.declared_sizes.get(path.name, path.stat().st_size)
            lfs = {"sha256": etag(path), "size": size, "pointerSize": 134} if path.suffix in LARGE else None
            oid = "0" * 40 if lfs else etag(path)
            siblings.append({"rfilename": path.name, "size": size, "blobId": oid, "lfs": lfs})
            entry: dict[str, Any] = {"type": "file", "path": path.name, "size": size, "oid": oid}
            # A tree names the same hash in another way.
            tree.append({**entry, "lfs": {**lfs, "oid": lfs["sha256"]}} if lfs else entry)
        info = {"id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "tags": []}
        self._send_json(self.hub.alter(info) if what == "revision" else tree)

    def _resolve(self, path: str, fault: Fault | None) -> None:
        named = RESOLVE.fullmatch(path.removeprefix("/cdn"))
        if named is None:
            self._refuse(404, None)
            return
        found = self._find(named["repo"], named["revision"])
        if found is None:
            return
        commit, folder = found
        file = folder / named["file"]
        if not file.is_file():
            self._refuse(404, "EntryNotFound", commit)
        elif file.suffix in LARGE and not path.startswith("/cdn/"):
            self._redirect(path, file, commit)
        else:
            self._send_file(file, commit, fault)

    def _redirect(self, path: str, file: Path, commit: str) -> None:
        self.send_response(302)
        # Another name of this host is another host to the client, as the Hub's storage is.
        self.send_header("Location", f"{self.hub.scheme}://localhost:{self.hub.port}/cdn{path}")
        self.send_header("X-Repo-Commit", commit)
        self.send_header("X-Linked-Etag", self.hub.tag(etag(file)))
        self.send_header("X-Linked-Size", str(file.stat().st_size))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_file(self, file: Path, commit: str, fault: Fault | None) -> None:
        data = file.read_bytes()
        if fault and fault.corrupts:
            data = bytes(byte ^ 1 for byte in data)
        wanted = self.hub.ranges and re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", self.hub.tag(etag(file)))
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "GET":
            self._send_body(data[start:], fault)

    def _send_body(self, body: bytes, fault: Fault | None) -> None:
        if fault is None or fault.after is None:
            self.wfile.write(body)
            return
        self.wfile.write(body[: fault.after])
        self.wfile.flush()
        if fault.stalls:
            self.hub.stalled.set()
            self.hub.released.wait(60)
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _flood(self, status: int | None) -> None:
        self.send_response(status or 200)
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):
            while True:
                self.wfile.write(bytes(1 << 16))

    def _send_json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(
        self,
        status: int,
        code: str | None,
        commit: str | None = None,
        message: str | None = None,
        page: bytes = b"",
        encoding: str = "",
        wait: str = "",
    ) -> None:
        self.send_response(status)
        if wait:
            self.send_header("Retry-After", wait)
        if code:
            self.send_header("X-Error-Code", code)
        if message:
            self.send_header("X-Error-Message", message)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        if page:
            self.send_header("Content-Type", "text/html")
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(page)
