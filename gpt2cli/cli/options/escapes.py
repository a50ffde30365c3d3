"""Escapes such as \\n that reach the command as typed, because the shell leaves them alone in most quotes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

ESCAPE = r"\\(n|r|t|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})"
MEANT = {"n": "a newline", "r": "a carriage return", "t": "a tab"}


def escape_notes(texts: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield a note on each text with an escape; `texts` has those of each option."""
    for option, given in texts.items():
        for text in given:
            if found := re.search(ESCAPE, text):
                import shlex

                meant = MEANT.get(found[1], "the character")
                typed = text.replace("'", r"\'")
                yield (
                    f"note: {found[0]} in {option} {shlex.quote(text)} is a backslash and a letter; "
                    f"for {meant}, type $'{typed}'"
                )
