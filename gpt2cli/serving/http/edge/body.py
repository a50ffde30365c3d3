"""Reading what a client sends, within limits of size and time."""

from __future__ import annotations

import anyio
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from gpt2cli.serving.http.edge.failures import RefusedError


async def read_body(scope: Scope, receive: Receive, most: int, seconds: float) -> bytes:
    """Return the body of a request.

    Raises:
        RefusedError: it has more than `most` bytes, or is not complete within some seconds.
        ClientDisconnect: the client is gone.
    """
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    if any(length.isdigit() and int(length) > most for length in lengths):
        raise _too_large(most)
    parts: list[bytes] = []
    size = 0
    with anyio.move_on_after(seconds):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part = message.get("body", b"")
            size += len(part)
            if size > most:
                raise _too_large(most)
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)
    raise RefusedError(408, f"The request was not complete within {seconds:g} s.", code="timeout")


def _too_large(most: int) -> RefusedError:
    return RefusedError(413, f"The request has more than {most:,} bytes.", code="request_too_large")
