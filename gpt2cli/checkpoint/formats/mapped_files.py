"""Mapped files that may become shorter while they are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def watch_mapping(path: Path, mapped: Any) -> None:
    """Have the process end with one line, and not by SIGBUS, if the file of a mapping is cut short.

    The handler is the kernels'. Without them, or where the program handles SIGBUS itself, nothing changes.
    """
    try:
        from gpt2cli.ops import kernels
    except ImportError:
        return
    name = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(path))
    message = f"Error: {name} was cut short while it was used. Restore it, and run the command again.\n"
    view = memoryview(mapped)
    if view.nbytes:
        kernels.watch_mapping(view.cast("B"), message.encode("utf-8", "backslashreplace"))
