"""Addresses that only this machine can reach."""

from __future__ import annotations

from ipaddress import ip_address

LOOPBACK_HOSTS = frozenset(("localhost", "127.0.0.1", "::1"))


def is_loopback(host: str) -> bool:
    """Return whether a name or an address reaches this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
