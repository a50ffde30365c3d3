"""A connection to a server, for questions with answers in lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from gpt2cli.errors import Error, UsageError
from gpt2cli.hub.network.logins import without_login
from gpt2cli.serving.remote.exchange import Exchange

NO_SERVER = "what answers is no server of gpt2"


class ServerConnection:
    """A server that is asked one question after another.

    Raises:
        UsageError: the address is not one of HTTP.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        # Errors show it, without a password.
        self._url = without_login(url)
        address = _address(url)
        if not address:
            raise UsageError(
                f"GPT2_SERVER={self._url} is not the address of a server.", "Such as http://127.0.0.1:8000."
            )
        self._address = address
        self._headers = {"Content-Type": "application/json"}
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise UsageError("GPT2_API_KEY has characters that no key has.")
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def ask(self, name: str, value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the lines of an answer as they come.

        Raises:
            UsageError: the server refused the question.
            Error: it cannot be reached, or failed.
        """
        body = json.dumps(value).encode()
        try:
            exchange = Exchange(*self._address, f"/gpt2/{name}", self._headers, body)
            try:
                if exchange.status != 200:
                    raise self._refused(exchange)
                for line in exchange.lines():
                    answer = _object(line)
                    if "error" in answer:
                        raise _error(answer["error"])
                    yield answer
            finally:
                exchange.close()
        except (OSError, ValueError) as error:
            raise self.failed(
                getattr(error, "strerror", None) or str(error) or type(error).__name__
            ) from error

    def one(self, name: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer of one line.

        Raises:
            UsageError, Error: as `ask` does.
        """
        answers = list(self.ask(name, value))
        if len(answers) != 1:
            raise self.failed(NO_SERVER)
        return answers[0]

    def failed(self, reason: str) -> Error:
        """Return the error that the server cannot be asked, for a reason."""
        return Error(f"GPT2_SERVER={self._url}: {reason}.", "Start it with gpt2 serve, or unset GPT2_SERVER.")

    def _refused(self, exchange: Exchange) -> Error:
        data = exchange.body()
        try:
            told = json.loads(data)["error"]
            if "exit_code" in told:
                return _error(told)
            message = str(told["message"])
        except (ValueError, KeyError, TypeError, RecursionError):
            message = f"It answered {exchange.status}, so it is no server of gpt2."
        hint = "Set GPT2_API_KEY to its key." if exchange.status == 401 else ""
        return Error(f"GPT2_SERVER={self._url}: {message}", hint)


def _address(url: str) -> tuple[str, int] | None:
    """Return the host and the port of a server's address, or None if it is not one of HTTP."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query:
        return None
    return parts.hostname, port or 80


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except RecursionError as error:
        raise ValueError(NO_SERVER) from error
    if not isinstance(value, dict):
        raise ValueError(NO_SERVER)
    return value


def _error(told: Any) -> Error:
    try:
        kind = UsageError if told["exit_code"] == UsageError.exit_code else Error
        return kind(str(told["message"]), str(told["hint"]))
    except (KeyError, TypeError) as error:
        raise ValueError(NO_SERVER) from error
