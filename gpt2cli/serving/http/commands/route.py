"""What this program's own commands ask a server for: answers in lines of JSON, errors as they are here."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from gpt2cli.errors import Error
from gpt2cli.serving.http.edge.body import read_body
from gpt2cli.serving.http.edge.connection import LINES, Stream, send_json, while_connected
from gpt2cli.serving.http.service import Service
from gpt2cli.serving.protocol import read_object

Emit: TypeAlias = Callable[[Any], Awaitable[None]]
Answer: TypeAlias = Callable[[Service, Mapping[str, Any], Emit], Awaitable[None]]


class CommandRoute:
    """A route that answers an object with lines; a command knows what to do with an error of this program."""

    def __init__(self, service: Service, answer: Answer) -> None:
        self._service = service
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        service, limits = self._service, self._service.limits
        data = await read_body(scope, receive, limits.body_bytes, limits.seconds)
        stream = Stream(send, LINES)

        async def emit(value: Any) -> None:
            # Both ends are Python, which has infinity in JSON.
            await stream.send(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n")

        async def answer() -> None:
            await self._answer(service, await service.read(read_object, data), emit)
            await stream.close()

        try:
            await while_connected(receive, limits.seconds, answer)
        except ClientDisconnect:
            raise
        except Error as error:
            told = {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
            if stream.begun:
                await emit({"error": told})
                await stream.close()
            else:
                await send_json(send, {"error": told}, 400 if error.exit_code == 2 else 500)
