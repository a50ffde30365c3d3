"""Facts about this machine and its installed packages, for reports."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from gpt2cli import __version__
from gpt2cli.ops.backend import compute_threads, instruction_set, nvidia_driver_is_present, open_backend
from gpt2cli.ops.threads import available_cores
from gpt2cli.ops.torch_extra import INSTALL_TORCH

CPU_INFO = Path("/proc/cpuinfo")


def processor_name() -> str:
    """Return the processor's name as reported by the system, or its architecture."""
    try:
        named = re.search(r"^model name\s*:\s*(.+)$", CPU_INFO.read_text("utf-8", "replace"), re.MULTILINE)
    except OSError:
        named = None
    return named[1] if named else platform.processor() or platform.machine()


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the versions of this package, Python and other packages, None for those not installed."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {"gpt2cli": __version__, "python": python} | {package: _version(package) for package in packages}


def compute_facts() -> dict[str, str | int | None]:
    """Return the defaults with which tokens are made, and the hardware and libraries they use.

    Raises:
        Error: as `open_backend` does.
    """
    ops = open_backend(for_decoding=True)
    import numpy as np

    driver = "found" if nvidia_driver_is_present() else None
    if ops.unused_gpu:
        driver = f"found, unused without PyTorch: {INSTALL_TORCH}"
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "device": ops.device_name,
        "backend": ops.name,
        "dtype": ops.dtype_name,
        "kernels": instruction_set() or "none: built without a C compiler",
        "nvidia_driver": driver,
        "blas": f"{blas['name']} {blas['version']}",
        "cores": available_cores(),
        "threads": compute_threads(ops),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
