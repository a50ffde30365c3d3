"""PyTorch as an optional package: whether it is installed, and the error where it is needed and missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from gpt2cli.errors import Error

TORCH_EXTRA = "'gpt2cli[torch]'"
INSTALL_TORCH = f"pip install {TORCH_EXTRA}"


def torch_is_installed() -> bool:
    """Return whether PyTorch is installed, without importing it."""
    return find_spec("torch") is not None


def require_torch(user: str) -> None:
    """Check that PyTorch can be imported, without doing so; `user` is what needs it, such as "Training".

    Raises:
        Error: it is not installed, or the current folder is gone.
    """
    if not torch_is_installed():
        raise Error(f"{user} needs PyTorch, which is not installed.", f"Install it: {INSTALL_TORCH}")
    try:
        Path.cwd()
    except FileNotFoundError:
        # There MKL ends the process in words of its own.
        raise Error(
            f"{user} needs PyTorch, and the current folder no longer exists.", "Change to one that does."
        ) from None


@contextmanager
def torch_needed_by(user: str) -> Iterator[None]:
    """Import in the block what needs PyTorch; `user` is what needs it, such as a file.

    Raises:
        Error: it is not installed, or its import fails.
    """
    require_torch(user)
    try:
        yield
    # A broken installation fails in many ways: missing libraries, an incompatible numpy.
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise Error(
            f"{user} needs PyTorch, which cannot be imported: {reason}.", f"Install it again: {INSTALL_TORCH}"
        ) from error
