"""Human-readable units."""

from __future__ import annotations


def size_text(size: int) -> str:
    """Return a number of bytes as text, with decimal units as on the Hub."""
    from rich.filesize import decimal

    return decimal(size)
