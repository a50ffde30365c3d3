"""The names that files give to weights: with wrappers' prefixes, and beside parts of other models."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from gpt2cli.checkpoint.architecture import Architecture
from gpt2cli.checkpoint.architectures import SHELLS, WRAPPERS

LISTED = 4


class StoredName(NamedTuple):
    """A name without the prefix of its family, which `inside` says that it had; `wrapper` was before that."""

    bare: str
    inside: bool
    wrapper: str


class SortedNames:
    """The names in files: those of weights by canonical name, and all others.

    `extras` has a name in each part beside the language model, by what the part is called. `unknown` are bare
    names that no weight of the model has, and `repeated` those that two weights have.
    """

    def __init__(self) -> None:
        self.weights: dict[str, str] = {}
        self.wrappers: list[str] = []
        self.extras: dict[str, str] = {}
        self.unknown: list[str] = []
        self.repeated: list[str] = []


class StoredNames:
    """The names that the files of a model may give to its weights."""

    def __init__(self, architecture: Architecture, names: Iterable[str]) -> None:
        self.canonical = {architecture.bare_name(name): name for name in names}
        full = (architecture.full_name(name) for name in self.canonical.values())
        self._known = {*self.canonical, *full}
        self._architecture = architecture
        self._parts = {bare.partition(".")[0] for bare in self.canonical}

    def unwrap(self, name: str, kind: str = "") -> StoredName:
        """Return a name without wrappers and family prefix; `kind` is what it lacks to be a weight's name."""
        if name + kind in self._known:
            bare = name.removeprefix(self._architecture.prefix)
            return StoredName(bare, bare != name, "")
        parts = name.split(".")
        left = [part for part in parts if part in SHELLS]
        parts = [part for part in parts if part not in SHELLS]
        while ".".join(parts) + kind not in self._known and parts[0] in WRAPPERS and len(parts) > 1:
            left.append(parts.pop(0))
        inside = ".".join(parts).startswith(self._architecture.prefix)
        return StoredName(self._bare(parts), inside, "".join(f"{part}." for part in left))

    def sort(self, names: Iterable[str]) -> SortedNames:
        """Return the names in files by what they are."""
        found = SortedNames()
        wrappers: dict[str, bool] = {}
        for name in names:
            bare, inside, wrapper = self.unwrap(name)
            canonical = self.canonical.get(bare)
            if canonical in found.weights:
                found.repeated.append(bare)
            elif canonical:
                found.weights[canonical] = name
                wrappers[wrapper] = True
            elif re.fullmatch(self._architecture.buffers, bare):
                continue
            elif extra := self._extra(bare, inside):
                found.extras.setdefault(extra, name)
            else:
                found.unknown.append(bare)
        found.wrappers = [wrapper for wrapper in wrappers if wrapper]
        return found

    def _extra(self, bare: str, inside: bool) -> str:
        """Return what the part of another model is called that a name stands in, or nothing."""
        if known := re.fullmatch(self._architecture.extras, bare):
            return known[1]
        part = bare.partition(".")[0]
        return "" if inside or part in self._parts else part

    def _bare(self, parts: list[str]) -> str:
        return ".".join(parts).removeprefix(self._architecture.prefix)


def few(names: Iterable[str], listed: int = LISTED) -> str:
    """Return the first names in one line, and how many more there are."""
    shown = [name if name.isprintable() else ascii(name)[1:-1] for name in names]
    more = len(shown) - listed
    return ", ".join(shown[:listed]) + (f" and {more:,} more" if more > 0 else "")
