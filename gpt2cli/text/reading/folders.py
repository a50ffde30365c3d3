"""The files that folders and patterns name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from gpt2cli.errors import InputError

# As git and grep decide what is binary.
BINARY_SIGN, SEARCHED_BYTES = b"\0", 8_000
WILDCARDS = "*?["


def named_files(names: Sequence[str], note: Callable[[str], None], binary: Sequence[str] = ()) -> list[str]:
    """Return names with folders and patterns replaced by the files that they name, sorted.

    Of a folder and the folders in it, hidden files are left out, and so are those with a NUL byte, with a
    note, unless their suffix is in `binary`. `**` in a pattern stands for any number of folders. A pattern
    that matches folders alone means their files. A name that exists is no pattern, nor is one that matches
    nothing.

    Raises:
        InputError: a folder holds no text, or cannot be read.
    """
    found: list[str] = []
    for name in names:
        if _holds(Path.is_dir, name):
            found += _files_in(name, note, binary)
        elif any(character in name for character in WILDCARDS) and not _holds(Path.exists, name):
            found += _matches(name, note, binary)
        else:
            found.append(name)
    return found


def _holds(is_true: Callable[[Path], bool], name: str) -> bool:
    try:
        return is_true(Path(name))
    except (OSError, ValueError):
        # A whole text, say, instead of a name. Opening it says what is wrong.
        return False


def _matches(pattern: str, note: Callable[[str], None], binary: Sequence[str]) -> list[str]:
    from glob import glob

    matches = sorted(glob(pattern, recursive=True), key=_by_parts)  # noqa: PTH207
    files = [name for name in matches if not Path(name).is_dir()]
    return files or [file for folder in matches for file in _files_in(folder, note, binary)] or [pattern]


def _files_in(folder: str, note: Callable[[str], None], binary: Sequence[str]) -> list[str]:
    files = sorted(_walk(folder), key=_by_parts)
    left_out = [name for name in files if not name.endswith(tuple(binary)) and _is_binary(name)]
    if left_out:
        more = f" and {len(left_out) - 1:,} more" if len(left_out) > 1 else ""
        note(f"note: {left_out[0]}{more} left out, not text")
    texts = sorted({*files} - {*left_out}, key=_by_parts)
    if not texts:
        raise InputError(f"{folder} holds no text.", "Hidden and binary files of a folder are not read.")
    return texts


def _walk(folder: str) -> Iterator[str]:
    for place, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(place) / name for name in files if not name.startswith("."))
        yield from (str(path) for path in paths if path.is_file())


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: {error.strerror}.") from error


def _by_parts(name: str) -> tuple[str, ...]:
    return Path(name).parts


def _is_binary(name: str) -> bool:
    # Most names are those of files, which need no look inside.
    from gpt2cli.text.reading.chunks import file_chunks

    try:
        return any(BINARY_SIGN in chunk for chunk in islice(file_chunks(name, SEARCHED_BYTES), 1))
    except InputError:
        # Reading it says what is wrong.
        return False
