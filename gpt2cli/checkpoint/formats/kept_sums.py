"""The checksums of kept weights, and a stamp that says when they need not be compared again.

Comparing takes about as long as making a token. So it is done where a file may have changed since, which its
stamp tells: the system notes every change of a file, even one that puts its old time back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.checkpoint.conversion_place import stamp_of
from gpt2cli.checkpoint.whole_file import removed_unless_renamed

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def checksums(arrays: Mapping[str, Array]) -> str:
    """Return the checksum of each array as one text."""
    return json.dumps({name: _checksum(array) for name, array in sorted(arrays.items())})


def is_as_written(path: Path, arrays: Mapping[str, Array], sums: str | None) -> bool:
    """Return whether the arrays of a kept file have their checksums, which are compared only if need be."""
    if _has_stamp(path):
        return True
    if checksums(arrays) != sums:
        remove_stamp(path)
        return False
    stamp(path)
    return True


def stamp(path: Path) -> None:
    """Note that a kept file is sound as it is now."""
    place = stamp_of(path)
    # Without it, the next start compares again.
    with suppress(OSError), removed_unless_renamed(place.with_name(f"{place.name}.{os.getpid()}")) as aside:
        aside.write_text(_state(path))
        aside.replace(place)


def remove_stamp(path: Path) -> None:
    """Have a kept file compared by the next start."""
    with suppress(OSError):
        stamp_of(path).unlink()


def _has_stamp(path: Path) -> bool:
    try:
        return stamp_of(path).read_text("ascii", "replace") == _state(path)
    except OSError:
        return False


def _state(path: Path) -> str:
    status = path.stat()
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _checksum(array: Array) -> str:
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    try:
        from gpt2cli.ops import kernels
    except ImportError:
        import zlib

        return f"{zlib.crc32(data.data):08x}"
    return f"{kernels.checksum(data):016x}"
