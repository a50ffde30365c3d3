"""`gpt2 info`: what is installed, what computes here, and what the cache holds."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from gpt2cli import __version__
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.streams import json_line, write_stdout
from gpt2cli.cli.output.table import print_table

PACKAGES = ("numpy", "torch", "tokenizers", "safetensors", "huggingface_hub")

Facts = Mapping[str, str | int | None]


def info(json: options.Json = False, debug: options.Debug = False) -> None:
    """Show versions, the device and backend that compute by default, and the models that are here.

    `gpt2 info --json`
    """
    facts = {"gpt2cli": __version__, "python": _python(), **_versions(), **_compute(), **_models()}
    if json:
        write_stdout(json_line(facts))
        return
    lines = [(name, "none" if value is None else str(value)) for name, value in facts.items()]
    print_table(lines[0], lines[1:])


def _python() -> str:
    return ".".join(str(number) for number in sys.version_info[:3])


def _versions() -> Facts:
    from gpt2cli.benchmark.machine import package_version

    return {package: package_version(package) for package in PACKAGES}


def _compute() -> Facts:
    from gpt2cli.ops.backend import compute_threads, instruction_set, nvidia_driver_is_present, open_backend

    ops = open_backend()
    if ops.unused_gpu:
        Messages().note(ops.unused_gpu)
    import numpy as np

    from gpt2cli.ops.threads import available_cores

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "device": ops.device_name,
        "backend": ops.name,
        "dtype": ops.dtype_name,
        "kernels": instruction_set() or "none: built without a C compiler",
        "nvidia_driver": "found" if nvidia_driver_is_present() else None,
        "blas": f"{blas['name']} {blas['version']}",
        "cores": available_cores(),
        "threads": compute_threads(ops),
    }


def _models() -> Facts:
    from gpt2cli.hub.cache import cache_folder
    from gpt2cli.hub.model_files import bundled_model, cached_models

    cached, bundled = cached_models(), bundled_model()
    return {
        "cache": str(cache_folder()),
        "cached_models": len(cached),
        "cached_bytes": sum(model.size for model in cached),
        "bundled_model": bundled.name if bundled else None,
        "bundled_bytes": bundled.size if bundled else None,
    }
