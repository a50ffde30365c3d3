"""A question to a server and its answer, over HTTP.

The client of the standard library would take a quarter of the time in which a command starts.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import cast

# A server that computes sends something sooner, and one that waits answers within its own limit.
SECONDS = 3600.0
LONGEST_LINE = 1 << 16
NO_HTTP = "what answers does not speak HTTP"


class Exchange:
    """A POST on a connection of its own, and the response; a status of 200 to 599 is in `status`.

    Raises:
        OSError: the server cannot be reached.
        ValueError: what answers does not speak HTTP, or breaks off.
    """

    def __init__(self, host: str, port: int, path: str, headers: Mapping[str, str], body: bytes) -> None:
        # Text would load the codec for international names, which takes long.
        name = host.encode("ascii" if host.isascii() else "idna")
        self._socket = socket.create_connection((cast("str", name), port), SECONDS)
        try:
            # Small parts leave at once.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            shown = f"[{host}]" if ":" in host else host
            fields = {
                "Host": f"{shown}:{port}",
                "Connection": "close",
                "Content-Length": len(body),
                **headers,
            }
            head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            self._socket.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
            self._file = self._socket.makefile("rb")
            self.status = self._read_status()
            self._headers = dict(self._read_headers())
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Close the connection, which ends what the server still does for it."""
        self._file.close()
        self._socket.close()

    def body(self) -> bytes:
        """Return all of the response."""
        return b"".join(self._parts())

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the response as they come."""
        begun: list[bytes] = []
        for part in self._parts():
            *ends, rest = part.split(b"\n")
            for end in ends:
                yield b"".join((*begun, end))
                begun = []
            begun.append(rest)
        if last := b"".join(begun):
            yield last

    def _parts(self) -> Iterator[bytes]:
        if b"chunked" in self._headers.get(b"transfer-encoding", b"").lower():
            while size := _number(self._line().partition(b";")[0], 16):
                yield self._bytes(size)
                self._line()
        elif length := self._headers.get(b"content-length"):
            yield self._bytes(_number(length, 10))
        else:
            yield self._file.read()

    def _read_status(self) -> int:
        status = 100
        while status < 200:
            version, _, rest = self._line().partition(b" ")
            if not version.startswith(b"HTTP/1."):
                raise ValueError(NO_HTTP)
            status = _number(rest[:3], 10)
            if status < 200:
                dict(self._read_headers())
        return status

    def _read_headers(self) -> Iterator[tuple[bytes, bytes]]:
        while line := self._line():
            name, _, value = line.partition(b":")
            yield name.strip().lower(), value.strip()

    def _line(self) -> bytes:
        line = self._file.readline(LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise ValueError("the connection broke off")
        return line.rstrip(b"\r\n")

    def _bytes(self, count: int) -> bytes:
        found = self._file.read(count)
        if len(found) < count:
            raise ValueError("the connection broke off")
        return found


def _number(digits: bytes, base: int) -> int:
    if not digits.isalnum():
        raise ValueError(NO_HTTP)
    try:
        return int(digits, base)
    except ValueError as error:
        raise ValueError(NO_HTTP) from error
