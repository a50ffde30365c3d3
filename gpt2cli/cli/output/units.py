"""Numbers as people read them."""

from __future__ import annotations


def size_text(size: int) -> str:
    """Return a number of bytes as people read it, in powers of 1000 as the Hub shows it."""
    from rich.filesize import decimal

    return decimal(size)
