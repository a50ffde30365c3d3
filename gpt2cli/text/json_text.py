"""JSON that is safe to show: nothing in it can move the cursor or hide anything."""

from __future__ import annotations

import json
import re
from typing import Any

# What JSON may hold as it is, and a terminal would obey or hide: what `visible` escapes.
_UNSAFE = (
    "[\x7f-\x9f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


def json_text(value: Any) -> str:
    """Return a value as JSON in one line, with escapes only for what a terminal would obey or hide."""
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return re.sub(_UNSAFE, lambda match: json.dumps(match[0])[1:-1], text)
