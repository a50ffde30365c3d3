"""Choosing a device, a backend and a dtype."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import Any

from gpt2cli.errors import Error, UsageError, shown
from gpt2cli.ops.operations import Ops, Storage
from gpt2cli.ops.threads import (
    MOST_THREADS,
    available_cores,
    set_blas_threads,
    sleeping_threads,
    threads_from_environment,
)
from gpt2cli.ops.torch_extra import INSTALL_TORCH, torch_is_installed, torch_needed_by

BACKENDS = ("auto", "compiled", "numpy", "torch")
DTYPES = ("auto", "float32", "float16", "bfloat16")
QUANTIZATIONS = ("none", "int8")
DEVICES = ("auto", "cpu", "mps", "cuda")
STORAGES: dict[str, Storage] = {"float16": "float16", "bfloat16": "bfloat16", "int8": "int8"}
# Looking for a pattern takes ten times as long. The second is where WSL puts the Windows driver.
DRIVER_FILES = ("/dev/nvidiactl", "/usr/lib/wsl/lib/libcuda.so.1", "/dev/nvhost-gpu")

# None is the fastest.
_chosen_set: str | None = None


def open_backend(
    device: str = "auto",
    backend: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    quantize: str = "none",
    *,
    compiled: bool = False,
    for_decoding: bool = False,
) -> Ops[Any]:
    """Return the operations of a backend on a device; auto uses CUDA if available, else the CPU.

    On the CPU, auto uses the compiled kernels, or numpy if the package was built without them. The dtype
    auto is float32, but for decoding bfloat16 on a GPU that computes in it. PyTorch is imported only if it
    may be used. If auto leaves a GPU unused because PyTorch is missing, `unused_gpu` says so. `compiled` has
    PyTorch compile what makes tokens.

    Raises:
        UsageError: a name is unknown, or the choices contradict each other.
        Error: the device is unusable, PyTorch is missing or broken, or the kernels are missing.
    """
    _check_names(device, backend, dtype, threads, quantize)
    if backend != "auto" or device not in ("auto", "cpu") or (device == "auto" and cuda_is_usable()):
        return _open(device, backend, dtype, threads, quantize, compiled, for_decoding)
    if compiled:
        raise UsageError("`compile` needs PyTorch to compute.", "Use `backend` torch, or leave it out.")
    ops = _open("cpu", _cpu_backend(dtype, quantize), dtype, threads, quantize)
    if device == "auto" and quantize == "none" and nvidia_driver_is_present() and not torch_is_installed():
        ops.unused_gpu = f"Computing on the CPU: the NVIDIA GPU needs PyTorch. Install it: {INSTALL_TORCH}"
    return ops


def _open(
    device: str,
    backend: str,
    dtype: str,
    threads: int | None,
    quantize: str,
    compiled: bool = False,
    for_decoding: bool = False,
) -> Ops[Any]:
    if compiled and device == "mps":
        raise UsageError("`compile` has no effect on mps.", "Leave it out.")
    if compiled and backend in ("compiled", "numpy"):
        raise UsageError(f"`compile` has no effect on the {backend} backend.", "Use `backend` torch.")
    if backend == "compiled":
        return _open_compiled(dtype if quantize == "none" else quantize, threads)
    if quantize != "none":
        raise UsageError(f"`quantize` {quantize} works only on a CPU.", "Leave it out, or use `device` cpu.")
    if backend == "numpy":
        return _open_numpy(threads)
    # This comes first, because BLAS reads its thread count while torch is imported.
    return _open_torch(device, dtype, set_blas_threads(threads), compiled, for_decoding)


def kernels_are_built() -> bool:
    """Return whether the package was installed with its compiled kernels, without importing numpy."""
    try:
        import_module("gpt2cli.ops.kernels")
    except ImportError:
        return False
    return True


def instruction_set() -> str | None:
    """Return the instruction set that the kernels use, such as avx512, or None without kernels."""
    if not kernels_are_built():
        return None
    from gpt2cli.ops import kernels

    return kernels.use(_chosen_set)


def choose_instruction_set(name: str | None) -> bool:
    """Have the kernels use an instruction set, or the fastest if None, and return whether they can.

    They may round differently with another one.
    """
    global _chosen_set
    if not kernels_are_built():
        return False
    from gpt2cli.ops import kernels

    try:
        kernels.use(name)
    except ValueError:
        return False
    _chosen_set = name
    return True


def compute_threads(ops: Ops[Any]) -> int:
    """Return the number of CPU threads."""
    if ops.name == "compiled":
        from gpt2cli.ops import kernels

        return kernels.threads()
    if ops.name == "numpy":
        numpy_ops: Any = ops
        return int(numpy_ops.work.threads)
    return int(_import_torch_ops("The torch backend").threads())


def cuda_is_usable() -> bool:
    """Return whether PyTorch can use an NVIDIA GPU; without a driver, PyTorch is not imported."""
    if not nvidia_driver_is_present():
        return False
    try:
        return bool(_import_torch_ops("CUDA").cuda_is_usable())
    except Error:
        return False


def nvidia_driver_is_present() -> bool:
    """Return whether the files of an NVIDIA driver or GPU are present."""
    return any(map(os.path.exists, DRIVER_FILES))


def _check_names(device: str, backend: str, dtype: str, threads: int | None, quantize: str) -> None:
    number = device.removeprefix("cuda:")
    if device not in DEVICES and (number == device or not (number.isascii() and number.isdigit())):
        raise UsageError(f"{shown(device)} is not a device.", "Use auto, cpu, cuda, cuda:N or mps.")
    choices = (
        ("backend", backend, BACKENDS),
        ("dtype", dtype, DTYPES),
        ("quantization", quantize, QUANTIZATIONS),
    )
    for kind, name, names in choices:
        if name not in names:
            raise UsageError(
                f"{shown(name)} is not a {kind}.", f"Use {', '.join(names[:-1])} or {names[-1]}."
            )
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UsageError(f"{shown(threads)} is not a number of threads.", f"Use 1 to {MOST_THREADS:,}.")
    if quantize != "none" and dtype != "auto":
        raise UsageError(f"`quantize` {quantize} excludes `dtype`.", "Leave out `dtype`.")
    if backend in ("compiled", "numpy") and device not in ("auto", "cpu"):
        raise UsageError(f"{backend} cannot compute on {device}.", "Use `backend` torch.")
    if backend == "numpy" and (dtype not in ("auto", "float32") or quantize != "none"):
        kind = dtype if quantize == "none" else quantize
        raise UsageError(f"numpy cannot compute in {kind}.", "Use `backend` compiled or torch.")
    if backend == "torch" and quantize != "none":
        raise UsageError(f"torch cannot compute in {quantize}.", "Use `backend` compiled.")


def _cpu_backend(dtype: str, quantize: str) -> str:
    if kernels_are_built() or quantize != "none":
        return "compiled"
    return "numpy" if dtype in ("auto", "float32") else "torch"


def _open_numpy(threads: int | None) -> Ops[Any]:
    count = threads or threads_from_environment() or available_cores()
    # The backend shares its products among threads of Python, each of which calls BLAS.
    set_blas_threads(1)
    from gpt2cli.ops.numpy_ops import NumpyOps

    return NumpyOps(count)


def _open_compiled(storage: str, threads: int | None) -> Ops[Any]:
    if not kernels_are_built():
        raise Error(
            "gpt2cli was installed without its compiled kernels.",
            "Reinstall it with a C compiler available, or use `backend` numpy.",
        )
    count = threads or threads_from_environment() or available_cores()
    # The kernels use their own threads, and BLAS stays idle.
    set_blas_threads(1)
    from gpt2cli.ops import kernels
    from gpt2cli.ops.compiled_ops import CompiledOps

    kernels.set_threads(count)
    return CompiledOps(STORAGES.get(storage))


def _open_torch(device: str, dtype: str, threads: int | None, compiled: bool, for_decoding: bool) -> Ops[Any]:
    torch_ops = _import_torch_ops(
        "The torch backend" if device in ("auto", "cpu") else f"The device {device}"
    )
    if device == "auto":
        device = "cuda" if torch_ops.cuda_is_usable() else "cpu"
    torch_ops.require_device(device)
    if threads is not None:
        torch_ops.set_threads(threads)
    if dtype == "auto":
        dtype = "bfloat16" if for_decoding and torch_ops.computes_in_bfloat16(device) else "float32"
    ops: Ops[Any] = torch_ops.TorchOps(device, torch_ops.DTYPES[dtype], compiled=compiled)
    return ops


def _import_torch_ops(user: str) -> ModuleType:
    with torch_needed_by(user), sleeping_threads():
        return import_module("gpt2cli.ops.torch_ops")
