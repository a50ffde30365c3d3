"""Disks that are full, small or read-only, that have no links or locks, or belong to someone else."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from random import Random
from shutil import rmtree

from fuzz.processes import forked, sandbox
from fuzz.search import Outcome
from fuzz.verdict import fault_of_process

SOMEONE_ELSE = 65534
GENERATE = ("generate", "Once upon", "-m", "tiny", "-s", "1", "-n", "12")
COMMANDS: tuple[tuple[str, ...], ...] = (
    (*GENERATE, "--quantize", "int8"),
    (*GENERATE, "-n", "3000", "--overflow", "slide", "-o", "disk/a.txt"),
    ("generate", "Once", "-m", "tiny.gguf", "-n", "2"),
    ("score", "long.txt", "-m", "tiny", "-o", "disk/a.json"),
    ("score", "text.txt", "-m", "tiny", "-o", "disk/a.png"),
    ("tokenize", "long.txt", "-m", "tiny", "--format", "npy", "-o", "disk/a.npy"),
    ("export", "tiny", "-o", "disk/folder"),
    ("export", "tiny", "-o", "disk/a.gguf"),
    ("models", "list"),
    ("models", "prune", "--yes"),
)
OLD = b"what was there before\n"


class Disks:
    """Commands that write, where that goes wrong."""

    name = "disks"

    def prepare(self, folder: Path) -> None:
        """Make the folder that the commands run in."""
        self._folder = folder / "a"
        self._disk = self._folder / "disk"
        self._disk.mkdir(parents=True)
        forked.call(lambda: sandbox.make_sandbox(self._folder))
        forked.load_the_commands()

    def attempt(self, draw: Random) -> Outcome:
        """Run a command on a bad disk, and once more on a good one."""
        command, kind, bytes_left, has_old = _plan(draw)
        for folder in (self._disk, self._folder / "home"):
            rmtree(folder, ignore_errors=True)
            folder.mkdir()
        named = command[command.index("-o") + 1] if "-o" in command else ""
        has_old = has_old and bool(Path(named).suffix)
        if has_old:
            (self._folder / named).write_bytes(OLD)
        before = self._files()
        ended = self._run(command, KINDS[kind], bytes_left)
        fault = fault_of_process(ended.code, ended.errors)
        if not fault and ended.code:
            fault = self._fault_left(before)
        if not fault and ended.code:
            again = self._run((*command, *(("--force",) if command[0] == "export" else ())), _sound, 0)
            fault = "" if again.code == 0 else f"the next try fails: {again.errors.decode()!r}"
        return Outcome(f"{kind} ended with {ended.code}", fault)

    def keep(self, draw: Random, folder: Path) -> str:
        """Return the command line and what is wrong with the disk."""
        return str(_plan(draw))

    def _run(
        self, command: tuple[str, ...], spoil: Callable[[Path, int], None], bytes_left: int
    ) -> forked.Ended:
        def before() -> None:
            for folder in (self._disk, self._folder / "home"):
                spoil(folder, bytes_left)

        ended = forked.run_command(command, self._folder, sandbox.environment(self._folder), before=before)
        for folder in (self._disk, self._folder / "home"):
            folder.chmod(0o755)
            os.chown(folder, os.getuid(), os.getgid())
        return ended

    def _files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self._disk.rglob("*") if path.is_file()}

    def _fault_left(self, before: dict[Path, bytes]) -> str:
        after = self._files()
        if new := after.keys() - before.keys():
            return f"it failed and left {', '.join(path.name for path in new)}"
        if after != before:
            return "it failed and spoiled the file that was there"
        return ""


def _plan(draw: Random) -> tuple[tuple[str, ...], str, int, bool]:
    """Return a command, what is wrong with its disk, how many bytes fit, and whether its file is there."""
    size = draw.choice((0, 1, 100, 4096, 8192, 20_000, draw.randrange(100_000)))
    return draw.choice(COMMANDS), draw.choice(list(KINDS)), size, draw.random() < 0.5


def _sound(folder: Path, bytes_left: int) -> None:
    pass


def _limited(folder: Path, bytes_left: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, bytes_left))


def _small(folder: Path, bytes_left: int) -> None:
    """Put a small disk in place of a folder, in a world that ends with this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    clone_new_mounts, private = 0x20000, 0x44000
    if libc.unshare(clone_new_mounts) or libc.mount(None, b"/", None, private, None):
        return
    size = f"size={max(bytes_left, 4096)}".encode()
    libc.mount(b"none", bytes(folder), b"tmpfs", 0, size)


def _read_only(folder: Path, bytes_left: int) -> None:
    folder.chmod(0o555)
    _obey_permissions()


def _of_someone_else(folder: Path, bytes_left: int) -> None:
    if os.getuid() == 0:
        os.chown(folder, SOMEONE_ELSE, SOMEONE_ELSE)
        folder.chmod(0o755 if bytes_left % 2 else 0o700)
        _obey_permissions()


def _without_links(folder: Path, bytes_left: int) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    os.symlink = os.link = refuse


def _without_locks(folder: Path, bytes_left: int) -> None:
    import fcntl

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    fcntl.flock = fcntl.lockf = refuse


def _obey_permissions() -> None:
    """Have this process refused what a folder forbids, even as root."""
    overrides, version = 1 << 1 | 1 << 2, 0x20080522
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(version, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    sets[0] &= ~overrides
    libc.capset(header, sets)


KINDS: dict[str, Callable[[Path, int], None]] = {
    "sound": _sound,
    "limited": _limited,
    "small": _small,
    "read-only": _read_only,
    "someone else's": _of_someone_else,
    "without links": _without_links,
    "without locks": _without_locks,
}
