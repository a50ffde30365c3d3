"""Serving an application: the socket, the signals and the end."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from gpt2cli.errors import Error

BACKLOG = 2048


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; port 0 takes one that is free.

    Raises:
        Error: the address cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        # create_server repeats the address.
        reason = (error.strerror or str(error)).partition(" (while ")[0]
        raise Error(f"{host}:{port}: {reason}.", "Choose another `host` or `port`.") from error


def url_of(listening: socket.socket) -> str:
    """Return the address of a socket as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """A server of an application; `run` serves until a signal ends it, which is then raised again.

    What is being answered then has `grace` seconds. `ready` is called when clients can connect.
    """

    def __init__(
        self, app: ASGIApp, grace: float, ready: Callable[[], object], *, verbose: bool = False
    ) -> None:
        config = uvicorn.Config(
            app,
            # Where httptools is installed, the event loop spends a sixth less on a token than with h11.
            http="auto",
            ws="none",
            lifespan="on",
            log_level="info" if verbose else "error",
            access_log=verbose,
            server_header=False,
            timeout_graceful_shutdown=max(1, round(grace)),
            # Nothing depends on the address of a client, which a proxy would tell.
            proxy_headers=False,
        )
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._ready()
