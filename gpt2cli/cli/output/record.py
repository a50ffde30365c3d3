"""Rows as names and values, and the spelling of a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Values are text, numbers, booleans or None.
Record = Mapping[str, Any]

# The precision of float32 results.
DECIMALS = 6


def round_record(record: Record) -> dict[str, Any]:
    """Return a record with its numbers rounded to significant digits."""
    return {name: _round(name, value) for name, value in record.items()}


def spell(name: str, value: Any) -> str:
    """Return the value of a column as text, empty for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(_round(name, value))


def _round(name: str, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    # A probability may be smaller than fixed decimals can show.
    return float(f"{value:.{DECIMALS}g}") if name.endswith("probability") else round(value, DECIMALS)
