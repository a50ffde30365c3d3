"""Clients of a completion server: many requests at once, over plain sockets, in one thread."""

from __future__ import annotations

import io
import json
import selectors
import socket
import time
from bisect import bisect
from collections.abc import Mapping
from http.client import HTTPResponse
from itertools import accumulate
from typing import Any, NamedTuple, cast

from gpt2cli.errors import Error

PATH = "/v1/completions"
PART_BYTES = 1 << 16
EVENT, DONE = b"data: ", b"data: [DONE]"


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


class Event(NamedTuple):
    """An event of a stream, and when it came."""

    time: float
    value: Any


class Reply:
    """The answer to a request, as it came; it is read only after its end, which takes a server no time.

    `events_so_far` may miss an event that came in two parts.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[float, bytes]] = []
        self.events_so_far = 0

    def add(self, data: bytes) -> None:
        """Add what has come now."""
        self._parts.append((time.perf_counter(), data))
        self.events_so_far += data.count(EVENT)

    @property
    def tokens(self) -> int:
        """The number of new tokens.

        Raises:
            Error: the server refused the request.
        """
        body = self._body()
        last = self.events()[-1].value if body.startswith(EVENT) else json.loads(body)
        tokens: int = last["usage"]["completion_tokens"]
        return tokens

    def events(self) -> list[Event]:
        """Return the events of a stream.

        Raises:
            Error: the server refused the request.
        """
        raw = b"".join(data for _, data in self._parts)
        ends = list(accumulate(len(data) for _, data in self._parts))
        events, begin = [], 0
        for line in self._body().splitlines():
            if line.startswith(EVENT) and line != DONE:
                begin = raw.index(line, begin) + len(line)
                came, _ = self._parts[bisect(ends, begin - 1)]
                events.append(Event(came, json.loads(line.removeprefix(EVENT))))
        return events

    def _body(self) -> bytes:
        response = HTTPResponse(cast(socket.socket, _Received(b"".join(data for _, data in self._parts))))
        response.begin()
        body = response.read()
        if response.status != 200:
            raise Error(f"its server answers {response.status}: {body[:200].decode(errors='replace')}")
        return body


class _Received:
    """What came through a socket, for the library's reader of responses."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._data)


class Clients:
    """Requests that a server is answering."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._selector = selectors.DefaultSelector()

    @property
    def waiting(self) -> bool:
        """Whether an answer is not complete."""
        return bool(self._selector.get_map())

    def ask(self, request: bytes) -> Reply:
        """Send a request, and return the reply that `receive` adds to."""
        connection = socket.create_connection(self._address)
        connection.sendall(request)
        reply = Reply()
        self._selector.register(connection, selectors.EVENT_READ, reply)
        return reply

    def receive(self) -> list[Reply]:
        """Wait until something comes, and return the replies that are complete now."""
        complete = []
        for key, _ in self._selector.select():
            connection, reply = cast(socket.socket, key.fileobj), key.data
            if data := connection.recv(PART_BYTES):
                reply.add(data)
            else:
                self._selector.unregister(connection)
                connection.close()
                complete.append(reply)
        return complete


def request(address: Address, body: Mapping[str, Any]) -> bytes:
    """Return a request for completions; the server closes its connection at the end of the answer."""
    data = json.dumps(body).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data
