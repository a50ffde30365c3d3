"""A row of numbers before it has a format: names and values, and how a value is spelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Values are text, numbers, truth values or None.
Record = Mapping[str, Any]

# float32 computes no more digits than these.
DECIMALS = 6


def round_record(record: Record) -> dict[str, Any]:
    """Return a record whose numbers have only digits that were computed."""
    return {name: _round(name, value) for name, value in record.items()}


def spell(name: str, value: Any) -> str:
    """Return the value of a column as text; None is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(_round(name, value))


def _round(name: str, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    # A probability may be far below what decimals show.
    return float(f"{value:.{DECIMALS}g}") if name == "probability" else round(value, DECIMALS)
