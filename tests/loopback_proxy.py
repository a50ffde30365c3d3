"""An HTTP proxy on 127.0.0.1 that tunnels, asks for a login, or refuses."""

from __future__ import annotations

import socket
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


class LoopbackProxy:
    """Serve as a proxy at `address` inside a `with` block.

    With a login, `USER:PASSWORD`, others are answered with 407. With a `refusal`, a status and its reason,
    all are. `tunnels` are the destinations that were connected.
    """

    def __init__(self, login: str = "", refusal: tuple[int, str] | None = None) -> None:
        self.login = login
        self.refusal = refusal
        self.tunnels: list[str] = []
        proxy = self

        class Handler(_Handler):
            def __init__(self, *args: Any, **options: Any) -> None:
                self.proxy = proxy
                super().__init__(*args, **options)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> LoopbackProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    proxy: LoopbackProxy

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_CONNECT(self) -> None:
        if self._refuses():
            return
        host, _, port = self.path.rpartition(":")
        self.proxy.tunnels.append(self.path)
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_copy, args=(there, self.connection), daemon=True)
            back.start()
            _copy(self.connection, there)
            back.join()

    def do_GET(self) -> None:
        self._refuses()

    def _refuses(self) -> bool:
        login = "Basic " + b64encode(self.proxy.login.encode()).decode()
        refusal = self.proxy.refusal
        if self.proxy.login and self.headers.get("Proxy-Authorization") != login:
            refusal = (407, "Proxy Authentication Required")
        if refusal:
            page = b"<html>No.</html>"
            self.send_response(*refusal)
            self.send_header("Proxy-Authenticate", "Basic realm=proxy")
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
        return refusal is not None


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
