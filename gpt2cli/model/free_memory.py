"""The memory that is free for this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def available_memory() -> int:
    """Return the bytes of main memory that are free for this process."""
    return min(_free_memory())


def _free_memory() -> Iterator[int]:
    pages = Path("/proc/meminfo")
    if pages.is_file():
        values = dict(line.split(":", 1) for line in pages.read_text().splitlines())
        yield 1024 * int(values["MemAvailable"].split()[0])
    else:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = Path("/sys/fs/cgroup")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdigit():
        yield max(0, int(limit.read_text()) - int(used.read_text()))
