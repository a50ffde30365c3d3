"""Requests to the Hub: whom they ask, and how long they wait."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

# In seconds. Nobody watches a command for longer that does nothing.
LONGEST_WAIT = 60
BAD_STATUS, TOO_MANY = 400, 429
NO_HEADERS: Mapping[str, str] = {}


class RefusalError(Exception):
    """Report an answer that says no; the body of `response` is not read, because it may have no end."""

    def __init__(self, response: Any) -> None:
        super().__init__(f"The server answered with the status {response.status_code}.")
        self.response = response


@contextmanager
def answer(
    url: str,
    note: Callable[[str], None],
    *,
    timeout: float,
    method: str = "GET",
    headers: Mapping[str, str] = NO_HEADERS,
    follow: bool = True,
) -> Iterator[Any]:
    """Yield the answer to a request, whose body is not read yet.

    A body is asked for as it is. One that is compressed nevertheless must not be unpacked, because a little
    may become gigabytes.

    If the server asks to wait for no more than a minute, wait once and ask again.

    Raises:
        RefusalError: the answer says no.
        Exception: the client's, if there is none.
    """
    client: Any = import_module("huggingface_hub.utils")
    sent = {**client.build_hf_headers(), "Accept-Encoding": "identity", **headers}
    waited = False
    while True:
        with client.get_session().stream(
            method, url, headers=sent, timeout=timeout, follow_redirects=follow
        ) as response:
            pause = requested_wait(response)
            if waited or not 0 < pause <= LONGEST_WAIT:
                if response.status_code >= BAD_STATUS:
                    raise RefusalError(response)
                yield response
                return
        note(f"Waiting {pause} s, as the Hub asks to after too many requests")
        time.sleep(pause)
        waited = True


def requested_wait(response: Any) -> int:
    """Return for how many seconds a server that refuses for the number of requests asks to wait, or 0."""
    told = response.headers.get("Retry-After", "") if response.status_code == TOO_MANY else ""
    return int(told) if re.fullmatch("[0-9]{1,9}", told) else 0
