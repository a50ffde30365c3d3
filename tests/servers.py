"""A real server in this process, and what asks it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

from gpt2cli.model.loading import LoadedModel
from gpt2cli.serving.http.addresses import LOOPBACK_HOSTS
from gpt2cli.serving.http.application import application
from gpt2cli.serving.http.limits import Limits
from gpt2cli.serving.http.server import Server, open_socket
from gpt2cli.serving.http.service import Service

SECONDS = 60


@dataclass(frozen=True)
class Reply:
    """A response that was read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.value["error"]

    @property
    def events(self) -> list[Any]:
        """The events of a stream, without the one that ends it."""
        *parts, last, rest = self.body.decode().split("\n\n")
        assert (last, rest) == ("data: [DONE]", "")
        return [json.loads(part.removeprefix("data: ")) for part in parts]


@dataclass(frozen=True)
class Running:
    """A server that runs: the address it listens at, and the service behind it."""

    host: str
    port: int
    service: Service

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def ask(
        self,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> Reply:
        """Return the response to a request; a body that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        kind = {} if data is None else {"Content-Type": "application/json"}
        with closing(HTTPConnection(self.host, self.port, timeout=SECONDS)) as connection:
            method = method or ("GET" if data is None else "POST")
            connection.request(method, path, data, {**kind, **(headers or {})})
            response = connection.getresponse()
            return Reply(response.status, dict(response.headers), response.read())

    def complete(self, **fields: Any) -> Reply:
        """Return the response to a request for completions."""
        return self.ask("/v1/completions", fields)

    def connect(self) -> socket.socket:
        """Return a connection that nothing has been sent on."""
        return socket.create_connection((self.host, self.port), timeout=SECONDS)

    def metric(self, name: str) -> float:
        """Return the value that /metrics has for a name."""
        lines = self.ask("/metrics").body.decode().splitlines()
        (value,) = (line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} "))
        return float(value)


@contextmanager
def running(loaded: LoadedModel, limits: Limits | None = None, **access: Any) -> Iterator[Running]:
    """Yield a server of a model, which is stopped in the end."""
    limits = limits or Limits()
    service = Service(loaded, limits)
    ready = threading.Event()
    with open_socket("127.0.0.1", 0) as listening:
        host, port = listening.getsockname()
        server = Server(application(service, LOOPBACK_HOSTS, **access), limits.grace, ready.set)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            assert ready.wait(SECONDS)
            yield Running(host, port, service)
        finally:
            server.should_exit = True
            thread.join()
