"""All searches, by name."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz import model_files, text_files
from fuzz.search import Search


def searches() -> dict[str, Search]:
    """Return all searches by their names."""
    return {search.name: search for search in _all()}


def _all() -> Iterator[Search]:
    yield from model_files.searches()
    yield from text_files.searches()
