"""Line ends of texts: LF, or CR LF as Windows writes them."""

from __future__ import annotations

from typing import Literal

Newlines = Literal["keep", "lf"]
CRLF = "\r\n"


def with_lf(text: str) -> str:
    """Return a text with each CR LF replaced by LF."""
    return text.replace(CRLF, "\n")
