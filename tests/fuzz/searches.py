"""All searches, by name."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.files import model_files, saved_files, study_files, text_files
from fuzz.files.requests import Bodies, Lines
from fuzz.processes.command_lines import CommandLines
from fuzz.processes.conversions import Conversions, Mapped
from fuzz.processes.disks import Disks
from fuzz.processes.networks import Networks
from fuzz.processes.signals import Signals
from fuzz.processes.terminals import Terminals
from fuzz.search import Search


def searches() -> dict[str, Search]:
    """Return all searches by their names."""
    return {search.name: search for search in _all()}


def _all() -> Iterator[Search]:
    yield from model_files.searches()
    yield from text_files.searches()
    yield from study_files.searches()
    yield from saved_files.searches()
    yield Lines()
    yield Bodies()
    yield CommandLines()
    yield Terminals()
    yield Signals()
    yield Networks()
    yield Conversions()
    yield Mapped()
    yield Disks()
