"""What a benchmark ran on."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


def package_version(name: str) -> str | None:
    """Return the version of an installed package, None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def processor_name() -> str:
    """Return the processor's name as the system tells it, or its architecture."""
    try:
        named = re.search(r"^model name\s*:\s*(.+)$", CPU_INFO.read_text("utf-8", "replace"), re.MULTILINE)
    except OSError:
        named = None
    return named[1] if named else platform.processor() or platform.machine()
