"""A Hub that answers wrongly: a download ends whole, or with one line, and the next one ends whole."""

from __future__ import annotations

import json
import re
import socket
import threading
from functools import cached_property
from pathlib import Path
from random import Random
from shutil import rmtree

from loopback_hub import LoopbackHub

from fuzz.mutation import TEXTS, changed_bytes, changed_value
from fuzz.processes import forked, sandbox
from fuzz.search import Outcome
from fuzz.verdict import fault_of_process

HEADERS: tuple[bytes, ...] = (
    b"ETag",
    b"X-Repo-Commit",
    b"X-Linked-Etag",
    b"X-Linked-Size",
    b"Content-Length",
    b"Location",
)
HEADERS += (b"Content-Range", b"Content-Type", b"X-Error-Code", b"X-Error-Message")
NAMES = (
    "../../../../evil",
    "/tmp/evil",
    "..",
    ".",
    "",
    "x" * 10_000,
    'W/"abc"',
    '"abc-17"',
    "zz",
    "a/b",
    "\x1b[5m",
    "é",
)
STATUSES = (200, 204, 206, 301, 302, 304, 400, 401, 403, 404, 408, 416, 418, 429, 500, 502, 503, 504, 999)
CONNECTION = re.compile(rb"(?<=\n)Connection:.*\r\n", re.IGNORECASE)
LENGTH = re.compile(rb"Content-Length: (\d+)\r\n", re.IGNORECASE)


class Networks:
    """Downloads from a Hub through a gateway that spoils some answers."""

    name = "network"

    def prepare(self, folder: Path) -> None:
        """Make the repository and what commands import."""
        from functools import partial

        self._folder = folder / "a" / "b" / "c" / "d"
        self._folder.mkdir(parents=True)
        self._served = folder / "served"
        forked.call(partial(_make_repository, self._served))
        forked.load_the_commands()

    def attempt(self, draw: Random) -> Outcome:
        """Download a model past a fault, and then without one."""
        rmtree(self._folder / "home", ignore_errors=True)
        self._gateway.spoil(draw)
        before = self._around()
        ended = self._download()
        self._gateway.spoil(None)
        fault = fault_of_process(ended.code, ended.errors) or self._fault_left(before, ended.code)
        if not fault:
            again = self._download()
            fault = "" if again.code == 0 else f"the next download fails: {again.errors.decode()!r}"
            fault = fault or self._fault_left(before, again.code)
        return Outcome(f"ended with {ended.code}", fault)

    def keep(self, draw: Random, folder: Path) -> str:
        """Return the answers that were spoiled."""
        return " ".join(map(str, _plan(draw)))

    def _download(self) -> forked.Ended:
        environment = sandbox.environment(self._folder) | {
            "HF_ENDPOINT": self._gateway.url,
            "HF_HUB_ETAG_TIMEOUT": "2",
            "HF_HUB_DOWNLOAD_TIMEOUT": "2",
        }
        return forked.run_command(["download", "o/m"], self._folder, environment)

    def _fault_left(self, before: set[Path], code: int) -> str:
        """Return what a download left that it should not have, or nothing."""
        if outside := self._around() - before:
            return f"it wrote {', '.join(map(str, outside))}"
        if code:
            return ""
        kept = self._folder / "home" / "hf" / "hub" / "models--o--m" / "snapshots"
        for path in self._served.iterdir():
            copies = [copy for copy in kept.rglob(path.name) if copy.is_file()]
            if not copies and path.name in ("config.json", "model.safetensors", "tokenizer.json"):
                return f"it ended well without {path.name}"
            if any(copy.read_bytes() != path.read_bytes() for copy in copies):
                return f"it keeps a {path.name} that is not the Hub's"
        return ""

    def _around(self) -> set[Path]:
        """Return what is in the folders above that of the cache, into which names could lead."""
        top = self._folder.parents[3]
        inside = self._folder / "home" / "hf"
        found = (path for path in top.rglob("*") if not path.is_relative_to(inside))
        return {path for path in found if path.name not in ("home", "stderr", ".stdin")}

    @cached_property
    def _gateway(self) -> Gateway:
        # Threads would not survive the fork that makes the process of the attempts.
        hub = LoopbackHub().__enter__()
        # Clients that hang up are no news.
        hub._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        hub.add("o/m", self._served)
        return Gateway(hub)


class Gateway:
    """Pass connections on to a hub, and answers back as a plan says."""

    def __init__(self, hub: LoopbackHub) -> None:
        self._hub = hub
        self._plan: dict[int, str] = {}
        self._draw = Random(0)
        self._answers = 0
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def spoil(self, draw: Random | None) -> None:
        """Spoil the answers from now on as a generator says, or none."""
        with self._lock:
            self._plan = _plan(draw) if draw else {}
            self._draw = draw or self._draw
            self._answers = 0

    def _serve(self) -> None:
        while True:
            client, _ = self._server.accept()
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        try:
            with client, client.makefile("rb") as asked:
                while head := _head(asked):
                    answer = self._ask(head)
                    with self._lock:
                        kind = self._plan.get(self._answers, "")
                        self._answers += 1
                        spoiled = _spoiled(self._draw, kind, answer)
                    if kind == "silence":
                        # Until the client has had enough.
                        asked.read(1)
                        return
                    client.sendall(spoiled)
                    if kind:
                        return
        except OSError:
            pass

    def _ask(self, head: bytes) -> bytes:
        """Return the hub's whole answer, with its redirections leading here."""
        # The hub closes the connection behind its answer.
        head = CONNECTION.sub(b"", head).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        with socket.create_connection(("127.0.0.1", self._hub.port)) as there:
            there.sendall(head)
            answer = b"".join(iter(lambda: there.recv(65536), b""))
        return answer.replace(f"http://localhost:{self._hub.port}".encode(), self.url.encode(), 1)


def _make_repository(folder: Path) -> None:
    from checkpoints import save_model_folder

    save_model_folder(folder, vocab_size=300, n_positions=16, n_embd=32, n_layer=1, n_head=2)


def _plan(draw: Random) -> dict[int, str]:
    """Return which answers are spoiled, counted from 0, and how."""
    kinds = (
        "status",
        "header",
        "header",
        "header",
        "body",
        "json",
        "cut",
        "cut",
        "garbage",
        "repeated",
        "wait",
    )
    count = draw.choice((1, 1, 1, 2, 3, 40))
    kind = draw.choice((*kinds, "silence") if count < 3 else kinds)
    first = draw.randrange(14) if count < 40 else 0
    return {
        number: kind if count == 40 else draw.choice((kind, draw.choice(kinds)))
        for number in range(first, first + count)
    }


def _head(stream: object) -> bytes:
    """Return the head of the next request, or nothing at the end."""
    lines: list[bytes] = []
    while line := stream.readline():  # type: ignore[attr-defined]
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return b""


def _spoiled(draw: Random, kind: str, answer: bytes) -> bytes:
    """Return an answer that is wrong in a way."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    match kind:
        case "status":
            lines[0] = f"HTTP/1.1 {draw.choice(STATUSES)} x".encode()
        case "wait":
            value = draw.choice(("999999", "-1", "x", "Fri, 31 Dec 9999 23:59:59 GMT", "1"))
            lines = [
                f"HTTP/1.1 {draw.choice((429, 503))} x".encode(),
                f"Retry-After: {value}".encode(),
                *lines[1:],
            ]
        case "header":
            _change_headers(draw, lines)
        case "body":
            # As many bytes as before.
            body = bytes(byte ^ draw.choice((0, 0, 1, 128)) for byte in body)
        case "json" if body[:1] in (b"{", b"["):
            body = _hostile_listing(draw, body)
            lines = [line for line in lines if not LENGTH.match(line + b"\r\n")] + [
                b"Content-Length: %d" % len(body)
            ]
        case "cut":
            return answer[: draw.randrange(len(answer))]
        case "garbage":
            return draw.choice(
                (
                    b"",
                    draw.randbytes(50),
                    b"\r\n\r\n",
                    b"HTTP/9.9 200 OK\r\n\r\n",
                    changed_bytes(draw, answer),
                )
            )
        case "repeated":
            return answer + answer
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _change_headers(draw: Random, lines: list[bytes]) -> None:
    name = draw.choice(HEADERS)
    value = draw.choice((*NAMES, "0", "-1", "999999999999", "x", "http://127.0.0.1:9/", draw.choice(TEXTS)))
    changed = name + b": " + value.replace("\r", "").replace("\n", "").encode("utf-8", "surrogatepass")
    lines[:] = [line for line in lines if not line.lower().startswith(name.lower() + b":")]
    if draw.random() < 0.8:
        lines.append(changed)


def _hostile_listing(draw: Random, body: bytes) -> bytes:
    """Return a listing with hostile names of files, hashes and sizes."""
    listing = json.loads(body)
    if draw.random() < 0.2:
        return draw.choice((b"[" * 50_000, b"null", b"[]", b"{}", b"7", b'"x"', b"\xff", b"<!doctype html>"))
    if isinstance(listing, dict) and "siblings" in listing and draw.random() < 0.6:
        entry = draw.choice(listing["siblings"])
        match draw.randrange(4):
            case 0:
                listing["sha"] = draw.choice(NAMES)
            case 1:
                entry["rfilename"] = draw.choice(NAMES)
            case 2:
                entry["size"] = draw.choice((0, 1, -1, 2**63, None, "x", 1e300))
            case _:
                listing["siblings"].append({**entry, "rfilename": draw.choice(NAMES)})
        return json.dumps(listing).encode()
    return json.dumps(changed_value(draw, listing)).encode()
