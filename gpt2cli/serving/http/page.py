"""The page that a browser gets: one file, of which nothing else may run."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).with_name("page.html").read_bytes()


def _hashes(tag: str) -> Iterator[str]:
    for content in re.findall(rb"<%b>(.*?)</%b>" % (tag.encode(), tag.encode()), PAGE, re.DOTALL):
        yield f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


# Text that a model makes is never markup, and what became markup could neither run nor load anything.
PAGE_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(_hashes('script'))}",
            f"style-src {' '.join(_hashes('style'))}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
}
