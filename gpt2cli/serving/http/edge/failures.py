"""What is refused, as the status and the error that OpenAI's clients understand."""

from __future__ import annotations

from collections.abc import Mapping

RETRY_SECONDS = "1"
TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}


class RefusedError(Exception):
    """A request that gets a status of 400 or more, with a message, the field that is wrong and a code."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self._headers = headers or {}

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that go with the status."""
        if self.status in (429, 503):
            return {**self._headers, "Retry-After": RETRY_SECONDS}
        return {"WWW-Authenticate": "Bearer"} if self.status == 401 else self._headers

    def error(self) -> dict[str, str | None]:
        """Return what OpenAI's clients call an error."""
        kind = TYPES.get(self.status, "invalid_request_error")
        return {"message": self.message, "type": kind, "param": self.param, "code": self.code}
