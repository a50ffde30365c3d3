"""The record of a sample: all that makes it again, and tells why another machine may not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from gpt2cli import __version__
from gpt2cli.hub.checks.content_hashes import content_hashes
from gpt2cli.ops.backend import compute_threads, instruction_set
from gpt2cli.ops.operations import Ops

if TYPE_CHECKING:
    from gpt2cli.model.loading import LoadedModel

LIBRARIES = {"compiled": ("numpy",), "numpy": ("numpy",), "torch": ("numpy", "torch")}


def machine_facts(loaded: LoadedModel) -> dict[str, Any]:
    """Return what a model's files hold, how it computes, and which versions do.

    Raises:
        OSError: a file of the model cannot be read.
    """
    ops = loaded.model.ops
    return {
        "arithmetic": arithmetic(ops),
        "hashes": content_hashes(loaded.files),
        "versions": versions(ops),
    }


def arithmetic(ops: Ops[Any]) -> dict[str, Any]:
    """Return the kernels and the threads that compute; kernels are None on other backends."""
    return {
        "kernels": instruction_set() if ops.name == "compiled" else None,
        "threads": compute_threads(ops),
    }


def versions(ops: Ops[Any]) -> dict[str, str]:
    """Return the versions of this package, Python and the libraries that compute."""
    python = ".".join(map(str, sys.version_info[:3]))
    # Metadata would take longer to read, and these modules are loaded.
    libraries = {name: str(sys.modules[name].__version__) for name in LIBRARIES[ops.name]}
    return {"gpt2cli": __version__, "python": python, **libraries}
