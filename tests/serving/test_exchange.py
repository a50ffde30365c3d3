"""Responses as servers and proxies frame them, read as the standard library reads them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection

import pytest

from gpt2cli.errors import Error
from gpt2cli.ops.compute import Compute
from gpt2cli.serving.remote.connection import ServerConnection
from gpt2cli.serving.remote.exchange import Exchange
from gpt2cli.serving.remote.model import RemoteModel

LINES = b'{"a": 1}\n{"b": "caf\xc3\xa9"}\n\n{"c": 3}'
FOUND = b"HTTP/1.1 200 OK\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunks(data: bytes, size: int) -> bytes:
    """Return data in chunks of a size."""
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@contextmanager
def answering(*answers: bytes, pieces: int = 1 << 20) -> Iterator[int]:
    """Yield the port of a server that reads what is sent, and gives each connection one of the answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for data in answers:
                connection, _ = listening.accept()
                with connection, connection.makefile("rb") as asked:
                    length = 0
                    while line := asked.readline().strip():
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.partition(b":")[2])
                    asked.read(length)
                    # Who has read all that was asked for may be gone before the last piece.
                    with suppress(BrokenPipeError, ConnectionResetError):
                        for start in range(0, len(data), pieces):
                            connection.sendall(data[start : start + pieces])

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


@pytest.mark.parametrize("pieces", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    "response",
    [
        CHUNKED + chunks(LINES, 1),
        CHUNKED + chunks(LINES, 5),
        CHUNKED + chunks(LINES, 100),
        CHUNKED + chunks(b"", 1),
        b"HTTP/1.1 200 OK\r\ncontent-LENGTH: %d\r\nX: y:z\r\n\r\n%b" % (len(LINES), LINES),
        b"HTTP/1.0 200 OK\r\n\r\n" + LINES,
        b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 404\nContent-Length: 3\n\nabc",
        b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: Chunked\r\n\r\n" + chunks(LINES, 4),
    ],
    ids=range(8),
)
def test_a_response_is_what_the_standard_library_reads(response: bytes, pieces: int) -> None:
    with answering(response, response, response, pieces=pieces) as port:
        with closing(HTTPConnection("127.0.0.1", port)) as connection:
            connection.request("POST", "/", b"{}")
            oracle = connection.getresponse()
            status, body = oracle.status, oracle.read()
        for read in (lambda asked: asked.body(), lambda asked: b"\n".join(asked.lines())):
            with closing(Exchange("127.0.0.1", port, "/", {}, b"{}")) as asked:
                assert (asked.status, read(asked)) == (status, body.removesuffix(b"\n"))


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"", "the connection broke off"),
        (b"HTTP/1.1 200 OK\r\nX: y", "the connection broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "the connection broke off"),
        (CHUNKED + b"5\r\nabc", "the connection broke off"),
        (CHUNKED + b'9\r\n{"a": 1}\n\r\n', "the connection broke off"),
        (CHUNKED + b"-5\r\nabc", "does not speak HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 fine\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc", "It answered 404"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n" + b"[" * 100_000, "It answered 404"),
        (FOUND + b"[" * 100_000, "is no server of gpt2"),
        (FOUND + b"5", "is no server of gpt2"),
        (FOUND + b'{"error": "x"}', "is no server of gpt2"),
        (FOUND + b'{"error": {"message": "x"}}', "is no server of gpt2"),
    ],
    ids=lambda value: repr(value[:60]),
)
def test_what_breaks_off_or_is_no_server_is_an_error(response: bytes, reason: str) -> None:
    with answering(response) as port:
        server = ServerConnection(f"http://localhost:{port}")
        with pytest.raises(Error, match=reason):
            list(server.ask("model", {}))


@pytest.mark.parametrize("told", [b"", b"{}", b"{}\n{}", b'{"generation_config": 5}'])
def test_a_server_of_something_else_is_none_of_gpt2(told: bytes) -> None:
    with answering(FOUND + told) as port, pytest.raises(Error, match="is no server of gpt2"):
        RemoteModel(f"http://127.0.0.1:{port}", None, None, Compute())
