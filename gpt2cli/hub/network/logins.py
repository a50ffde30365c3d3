"""Logins in the addresses of servers and proxies, which nobody is shown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from urllib.parse import unquote

HIDDEN = "***"
SCHEME = re.compile(r"[A-Za-z][\w+.-]*://")
# What may part a password, if an address is read wrongly.
PARTS = re.compile(r"[/?#@:\[\]]")


def without_login(address: str) -> str:
    """Return an address as errors show it: without a user's name, a password and a query."""
    scheme, _, rest = _split(address)
    return scheme + re.split("[?#]", rest)[0]


def without_logins(text: str) -> str:
    """Return what a library says, without the passwords in the addresses of the Hub and of proxies.

    It may name an address as it stands, or the part that it could not read.
    """
    # It takes longer than the start of a client of a server.
    from urllib.request import getproxies

    addresses = [os.environ.get("HF_ENDPOINT", ""), *getproxies().values()]
    secrets = {secret for address in addresses for secret in _secrets(address)}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return re.sub(r"://\S*@", "://", text)


def _split(address: str) -> tuple[str, str, str]:
    """Return the scheme, the login and the rest, each of which may be empty."""
    found = SCHEME.match(address)
    scheme = found[0] if found else ""
    login, _, rest = address.removeprefix(scheme).rpartition("@")
    return scheme, login, rest


def _secrets(address: str) -> Iterator[str]:
    _, login, rest = _split(address)
    name, _, password = login.partition(":")
    for secret in (password or name, *re.split("[?#]", rest, maxsplit=1)[1:]):
        parts = {secret, *PARTS.split(secret)}
        yield from filter(None, {*parts, *map(unquote, parts)})
