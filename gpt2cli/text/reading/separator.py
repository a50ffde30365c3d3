"""The lines that separate documents in a text."""

from __future__ import annotations

import re

from gpt2cli.checkpoint.special_tokens import END_OF_TEXT

# With its line end, which belongs to neither document.
SEPARATOR = re.compile(rf"^{re.escape(END_OF_TEXT)}(?:\r?\n|\Z)", re.MULTILINE)


def without_separators(text: str) -> str:
    """Return a text without the lines of `<|endoftext|>` in it."""
    return SEPARATOR.sub("", text) if END_OF_TEXT in text else text
