"""The gguf package as an optional one: what needs it, and the error where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gpt2cli.errors import Error

INSTALL_GGUF = "pip install 'gpt2cli[gguf]'"


@contextmanager
def gguf_needed_by(user: str) -> Iterator[None]:
    """Import in the block what needs the package; `user` is what needs it, such as a file.

    Raises:
        Error: it is not installed, or its import fails.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = "which is not installed" if error.name == "gguf" else f"which lacks {error.name}"
        raise Error(f"{user} needs the package gguf, {missing}.", f"Install it: {INSTALL_GGUF}") from error
    except ImportError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise Error(
            f"{user} needs the package gguf, which cannot be imported: {reason}.",
            f"Install it again: {INSTALL_GGUF}",
        ) from error
