"""Files of models, texts and runs that are damaged or hostile: each is read, or refused in one line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from shutil import copytree

from fuzz.mutation import Change
from fuzz.search import Outcome
from fuzz.verdict import fault_of_error


class FileSearch:
    """One file of a folder is changed, and the folder read.

    `make` fills the folder and `read` reads what is in it, as far as a user's command would. `changes` tell
    which files are changed, by patterns of their names, and how.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[Path], object],
        read: Callable[[Path], object],
        changes: Mapping[str, Change],
    ) -> None:
        self.name = name
        self._make = make
        self._read = read
        self._changes = changes
        self._folder = Path()

    def prepare(self, folder: Path) -> None:
        """Make the sound files, which must be readable.

        Raises:
            Error: they are not.
        """
        self._folder = folder / self.name
        self._folder.mkdir()
        os.environ["HF_ASSETS_CACHE"] = str(folder / "assets")
        self._make(self._folder)
        assert self._sound
        self._read_sound()

    def attempt(self, draw: Random) -> Outcome:
        """Change one file, read it, and put the sound one back."""
        path, data = self._changed(draw)
        # A new file each time, as the last one may still be mapped.
        path.unlink()
        path.write_bytes(data)
        try:
            self._read(path)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            outcome = Outcome("refused", fault_of_error(error))
        else:
            outcome = Outcome("read")
        path.unlink()
        path.write_bytes(self._sound[path])
        return outcome

    def keep(self, draw: Random, folder: Path) -> str:
        """Copy the folder with the changed file in it."""
        path, data = self._changed(draw)
        # If it died, it did not put the sound file back.
        path.write_bytes(self._sound[path])
        copytree(self._folder, folder)
        (folder / path.relative_to(self._folder)).write_bytes(data)
        return str(path.relative_to(self._folder))

    def _changed(self, draw: Random) -> tuple[Path, bytes]:
        path = draw.choice(list(self._sound))
        return path, self._suitable(path)(draw, self._sound[path])

    def _suitable(self, path: Path) -> Change:
        return next(change for pattern, change in self._changes.items() if path.match(pattern))

    def _read_sound(self) -> None:
        for path in self._sound:
            self._read(path)

    @cached_property
    def _sound(self) -> Mapping[Path, bytes]:
        found: Sequence[Path] = sorted({path for name in self._changes for path in self._folder.rglob(name)})
        return {path: path.read_bytes() for path in found}
