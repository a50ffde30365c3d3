"""Who may ask: only clients that name this host, hold the key and send JSON."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gpt2cli.serving.http.edge.failures import RefusedError

# The page has no secrets, and what watches a server has no key.
OPEN_PATHS = ("/", "/health")


class Access:
    """Let in only what may ask.

    A page of another site can send requests to this machine. It can point a name here, so only those in
    `hosts` are answered, and with `any_address` all addresses, which need no name. It can send a form, which
    cannot be JSON. With a key, only the page and the health are open to those without it.
    """

    def __init__(
        self, app: ASGIApp, hosts: Collection[str], *, any_address: bool = False, api_key: str | None = None
    ) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._any_address = any_address
        self._key = None if api_key is None else api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on.

        Raises:
            RefusedError: it may not ask.
        """
        if scope["type"] == "http":
            self._check(scope["method"], scope["path"], Headers(scope=scope))
        await self._app(scope, receive, send)

    def _check(self, method: str, path: str, headers: Headers) -> None:
        names = headers.getlist("host")
        if len(names) != 1 or not self._is_allowed(_host_name(names[0])):
            shown = ", ".join(names)[:100]
            raise RefusedError(
                400, f"This server does not answer for the host {shown!r}.", code="unknown_host"
            )
        if self._key is not None and path not in OPEN_PATHS:
            scheme, _, key = headers.get("authorization", "").partition(" ")
            given = key.strip().encode("latin-1")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given, self._key):
                raise RefusedError(401, "The API key is missing or wrong.", code="invalid_api_key")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if method == "POST" and kind != "application/json":
            raise RefusedError(
                415, "The content type must be application/json.", code="unsupported_media_type"
            )

    def _is_allowed(self, name: str) -> bool:
        if name in self._hosts:
            return True
        try:
            return self._any_address and bool(ip_address(name))
        except ValueError:
            return False


def _host_name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    name, bracket, _ = host.strip().lower().rpartition("]")
    if bracket:
        return name.removeprefix("[")
    return host.strip().lower().partition(":")[0]
