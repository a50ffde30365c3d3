"""Many clients at once that each read one stream after another, with little work of their own."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from selectors import EVENT_READ, DefaultSelector
from typing import Any

HEAD = (
    "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    "Content-Type: application/json\r\n"
)
END = b"data: [DONE]"


@dataclass
class Stream:
    """One request, the bytes of its answer, and when parts of it came."""

    request: Mapping[str, Any]
    data: bytearray = field(default_factory=bytearray)
    times: list[float] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether the answer is complete and no error."""
        return self.data.startswith(b"HTTP/1.1 200") and END in self.data

    @property
    def events(self) -> list[Any]:
        """The events of the answer, without the one that ends it."""
        lines = (line for line in self.data.split(b"\n") if line.startswith(b"data: {"))
        return [json.loads(line.removeprefix(b"data: ")) for line in lines]

    @property
    def text(self) -> str:
        """The text of the only choice."""
        return "".join(event["choices"][0]["text"] for event in self.events if event["choices"])

    @property
    def tokens(self) -> int:
        """The number of tokens that were made."""
        return int(self.events[-1]["usage"]["completion_tokens"])

    @property
    def gaps(self) -> list[float]:
        """The seconds between the parts, the first of which waited for the prompt."""
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


def read_streams(
    host: str, port: int, requests: Iterator[Mapping[str, Any]], clients: int, seconds: float
) -> list[Stream]:
    """Return what clients read that each ask again as soon as they are answered, for some seconds.

    What has begun by then is read to its end.
    """
    selector, done = DefaultSelector(), list[Stream]()
    end = time.perf_counter() + seconds

    def begin() -> None:
        request = next(requests)
        streamed = {**request, "stream": True, "stream_options": {"include_usage": True}}
        body = json.dumps(streamed).encode()
        connection = socket.create_connection((host, port))
        connection.sendall(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        selector.register(connection, EVENT_READ, Stream(request))

    for _ in range(clients):
        begin()
    while selector.get_map():
        for key, _ in selector.select():
            stream: Stream = key.data
            assert isinstance(key.fileobj, socket.socket)
            part = key.fileobj.recv(1 << 16)
            now = time.perf_counter()
            stream.data += part
            if b"data: {" in part:
                stream.times.append(now)
            if part and END not in part:
                continue
            selector.unregister(key.fileobj)
            key.fileobj.close()
            done.append(stream)
            if now < end:
                begin()
    return done
