"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from gpt2cli.checkpoint.ending_signals import undone_if_killed

# How long a file that is still being written may go unchanged.
LEFT_SECONDS = 600


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name only when the block succeeds and all data are on the disk.

    Raises:
        OSError: it cannot be written or the disk is full; the error names the file.
    """
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with removed_unless_renamed(aside):
            with aside.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            _sync_folder(path.parent)
    except OSError as error:
        # Users know the file by this name alone. An error without a name comes from a write.
        if error.filename in (None, str(aside)):
            error.filename = str(path)
        raise


@contextmanager
def removed_unless_renamed(path: Path) -> Iterator[Path]:
    """Yield a path, and remove the file there when the block ends, even by a signal that ends the process.

    If the name has this process's number, files of killed processes under the same name are removed too.
    """

    def remove() -> None:
        path.unlink(missing_ok=True)

    for left in _left_behind(path):
        left.unlink(missing_ok=True)

    with undone_if_killed(remove):
        try:
            yield path
        finally:
            remove()


def _left_behind(path: Path) -> Iterator[Path]:
    """Yield files of the same name but for the number of a process that no longer runs."""
    name = re.escape(path.name).replace(rf"\.{os.getpid()}", r"\.(\d+)")
    with suppress(OSError):
        for other in path.parent.iterdir():
            found = re.fullmatch(name, other.name)
            if found and found.groups() and not _may_be_in_use(other, int(found[1])):
                yield other


def _may_be_in_use(path: Path, process: int) -> bool:
    # On a network drive, it may be the file of a process on another machine.
    if time.time() - path.stat().st_mtime < LEFT_SECONDS:
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _sync_folder(folder: Path) -> None:
    # Until then, a power failure could lose the new name.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems sync no folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder that gets its name, and takes the place of a folder there, if the block succeeds.

    Raises:
        OSError: it cannot be written or the disk is full.
    """
    from shutil import rmtree

    # A link would be replaced in place of the folder.
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside, replaced = (path.with_name(f".{path.name}.{what}") for what in ("tmp", "old"))

    def clean_up() -> None:
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        for folder in (aside, replaced):
            rmtree(folder, ignore_errors=True)

    # What a killed process left.
    clean_up()
    with undone_if_killed(clean_up):
        try:
            aside.mkdir()
            yield aside
            if path.exists():
                path.rename(replaced)
            aside.rename(path)
            _sync_folder(path.parent)
        except OSError as error:
            # Users know the folder by this name alone.
            if isinstance(error.filename, str):
                error.filename = error.filename.replace(str(aside), str(path), 1)
            raise
        finally:
            clean_up()
