"""A client that is being answered: whether it is still there, and how it is sent what it asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Send

from gpt2cli.serving.answers import encode_json
from gpt2cli.serving.http.edge.failures import RefusedError

JSON = b"application/json"
EVENTS = b"text/event-stream; charset=utf-8"
LINES = b"application/x-ndjson"


async def while_connected(receive: Receive, seconds: float, answer: Callable[[], Awaitable[None]]) -> None:
    """Answer a client; stop if it goes away, or if that takes too long.

    The whole request was received.

    Raises:
        RefusedError: the time is over.
        ClientDisconnect: the client is gone.
    """
    failures: list[Exception] = []
    ended = gone = False

    async with anyio.create_task_group() as group:

        async def watch() -> None:
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            # A connection also counts as gone once its answer is complete.
            gone = not ended
            group.cancel_scope.cancel()

        group.start_soon(watch)
        with anyio.move_on_after(seconds) as limit:
            try:
                await answer()
            except Exception as error:
                failures.append(error)
            ended = True
        group.cancel_scope.cancel()
    if failures:
        raise failures[0]
    if limit.cancelled_caught:
        raise RefusedError(503, f"The answer was not complete within {seconds:g} s.", code="timeout")
    if gone:
        raise ClientDisconnect


async def send_json(send: Send, value: Any, status: int = 200) -> None:
    """Send a whole response."""
    await send_body(send, encode_json(value), JSON, status)


async def send_body(
    send: Send, body: bytes, kind: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> None:
    """Send a whole response of a content type."""
    more = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    lengths = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*lengths, *more]})
    await send({"type": "http.response.body", "body": body})


class Stream:
    """A response in parts; it begins with the first, so that what fails before has a status."""

    def __init__(self, send: Send, kind: bytes) -> None:
        self._send = send
        self._kind = kind
        self.begun = False

    async def send(self, part: bytes) -> None:
        """Send a part."""
        if not self.begun:
            self.begun = True
            # Proxies must not collect what should be seen at once.
            headers = [(b"content-type", self._kind), (b"x-accel-buffering", b"no")]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def close(self) -> None:
        """End the response."""
        await self._send({"type": "http.response.body", "body": b""})


def event(data: bytes) -> bytes:
    """Return JSON as a server-sent event."""
    return b"data: " + data + b"\n\n"
