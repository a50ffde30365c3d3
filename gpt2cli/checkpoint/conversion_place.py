"""Where the conversions of a checkpoint are kept, and the notes that identify them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

SUFFIX = ".safetensors"
# The keys of the notes in a file's header.
SOURCE, LAYOUT, TYPE, HEAD, MODEL, SUMS = "source", "layout", "type", "head", "model", "checksums"


STAMP = ".stamp"


def stamp_of(path: Path) -> Path:
    """Return the file that tells in which state a kept file was last found sound."""
    return path.with_name(f".{path.name}{STAMP}")


class ConversionPlace(NamedTuple):
    """A checkpoint's place among the kept conversions.

    `source` changes with the checkpoint's files, and `model` is the path that identifies them. Without a
    folder nothing is kept, and `problem` says why.
    """

    folder: Path | None
    name: str
    source: str
    model: Path
    problem: str = ""

    def path(self, kind: str) -> Path | None:
        """Return the file for a kind of conversion, whether or not it exists; None without a folder."""
        return None if self.folder is None else self.folder / f"{self.name}.{kind}{SUFFIX}"

    @property
    def files(self) -> list[Path]:
        """The kept files of this checkpoint, sorted by path."""
        found = [] if self.folder is None else self.folder.glob(f"{self.name}.*{SUFFIX}")
        return sorted(found)
