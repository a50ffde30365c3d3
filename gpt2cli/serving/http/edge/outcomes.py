"""How every request ends: with a status that is counted, and headers that keep other sites out."""

from __future__ import annotations

import logging
from collections.abc import Collection

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpt2cli.errors import Error, InputError, UsageError
from gpt2cli.serving.answers import encode_json
from gpt2cli.serving.http.edge.connection import JSON, send_body
from gpt2cli.serving.http.edge.failures import RefusedError
from gpt2cli.serving.http.metrics import Metrics
from gpt2cli.serving.protocol import error_object

LOGGER = logging.getLogger(__name__)
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# What nginx calls a client that went away; it never sees it.
GONE = 499


class Outcomes:
    """Count the requests of an application by the routes in `paths`, and answer where it fails."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        # The router raises what is not found only in an application.
        scope["app"] = self
        try:
            await self._app(scope, receive, send_marked)
        except ClientDisconnect:
            status = GONE
        except Exception as error:
            refusal = as_refusal(error)
            if status:
                # Only a connection that breaks tells that the answer is not whole.
                raise
            await send_body(
                send_marked, encode_json({"error": refusal.error()}), JSON, refusal.status, refusal.headers
            )
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.requests.labels(path, str(status or GONE)).inc()


def as_refusal(error: Exception) -> RefusedError:
    """Return what a client is told about an error; one that no client is to blame for is logged."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, UsageError | InputError):
        told = error_object(error)
        return RefusedError(400, told["message"], param=told["param"], code=told["code"])
    if isinstance(error, HTTPException):
        detail = {404: "There is nothing at this path.", 405: "This path has another method."}
        message = detail.get(error.status_code, error.detail)
        return RefusedError(error.status_code, message, headers=error.headers)
    LOGGER.error("A request failed.", exc_info=error)
    return RefusedError(500, str(error) if isinstance(error, Error) else "The server failed.")
