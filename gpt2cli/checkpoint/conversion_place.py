"""Where the conversions of a checkpoint are kept, and the notes that identify them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

SUFFIX = ".safetensors"
# The keys of the notes in a file's header.
SOURCE, LAYOUT, TYPE, HEAD, MODEL = "source", "layout", "type", "head", "model"


class ConversionPlace(NamedTuple):
    """A checkpoint's place among the kept conversions.

    `source` changes with the checkpoint's files, and `model` is the path that identifies them.
    """

    folder: Path
    name: str
    source: str
    model: Path

    def path(self, kind: str) -> Path:
        """Return the file for a kind of conversion, whether or not it exists."""
        return self.folder / f"{self.name}.{kind}{SUFFIX}"
