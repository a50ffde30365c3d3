"""The number of threads for matrix products, and of cores available to this process."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# Numpy asks for huge pages, which are zeroed on first touch: for a KV cache of 900 tokens that takes 0.3 s
# before the first token on a virtual machine whose host reclaims free memory.
PAGES_VARIABLE = "NUMPY_MADVISE_HUGEPAGE"
# OpenMP's threads spin for some milliseconds before they sleep. On a busy machine, each of the many waits
# in a step takes that time from whoever computes too, and a step takes 10 times as long or more.
WAITING_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
# PyTorch crashes with many times as many.
MOST_THREADS = 1024
# OpenBLAS in numpy's wheels, OpenBLAS in distributions, MKL.
SETTERS = ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads", "MKL_Set_Num_Threads")
GETTERS = ("scipy_openblas_get_num_threads64_", "openblas_get_num_threads", "MKL_Get_Max_Threads")


def available_cores() -> int:
    """Return the number of cores available to this process, at least 1."""
    limits = list(_cgroup_quotas(Path("/")))
    # Only Linux reports the affinity.
    limits.append(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    # Rounded down, because exceeding the quota stops all threads for the rest of each period.
    return max(1, math.floor(min(limits)))


def threads_are_chosen() -> bool:
    """Return whether an environment variable, such as OMP_NUM_THREADS, sets the number of threads."""
    return any(os.environ.get(name) for name in THREAD_VARIABLES)


def threads_from_environment() -> int | None:
    """Return the number of threads set in the environment, or None."""
    values = (os.environ.get(name, "") for name in THREAD_VARIABLES)
    numbers = (int(value) for value in values if value.isascii() and value.isdigit() and len(value) < 10)
    return next((min(number, MOST_THREADS) for number in numbers if number), None)


@contextmanager
def sleeping_threads() -> Iterator[None]:
    """Have idle threads sleep if the block loads OpenMP, unless the user's variables say how they wait."""
    chosen = any(os.environ.get(name) for name in WAITING_VARIABLES)
    with _variables({} if chosen else {WAITING_VARIABLES[0]: "passive"}):
        yield


def set_blas_threads(count: int | None) -> int | None:
    """Set the number of threads of numpy's BLAS, import numpy with it, and return it.

    None means one thread per available core, unless a variable such as OMP_NUM_THREADS is set, which then
    decides; the result is then None. If imported here, numpy uses small pages unless its own environment
    variable says otherwise.
    """
    if count is None and not threads_are_chosen():
        count = available_cores()
    if "numpy" in sys.modules:
        # The number may have been changed since numpy read the variables.
        number = count or threads_from_environment()
    else:
        values = {PAGES_VARIABLE: os.environ.get(PAGES_VARIABLE, "0")}
        if count:
            values |= dict.fromkeys(THREAD_VARIABLES, str(count))
        with _variables(values):
            import_module("numpy")
        # Some BLAS libraries read the variables only on first use.
        number = count
    if number:
        _call_loaded_blas(SETTERS, ctypes.c_int(number))
    return count


def blas_threads() -> int | None:
    """Import numpy and return the number of its BLAS threads, or None if unknown."""
    import_module("numpy")
    return _call_loaded_blas(GETTERS)


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the duration of the block."""
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        # Libraries loaded later and child processes must see the user's values.
        for name in values:
            os.environ.pop(name, None)
        os.environ.update(before)


def _call_loaded_blas(names: Sequence[str], *arguments: ctypes.c_int) -> int | None:
    # The lookup includes the libraries that numpy's is linked to.
    library = ctypes.CDLL(sys.modules["numpy._core._multiarray_umath"].__file__)
    for name in names:
        if hasattr(library, name):
            return int(getattr(library, name)(*arguments))
    return None


def _cgroup_quotas(root: Path) -> Iterator[float]:
    """Yield every CPU quota of this process's cgroup and its ancestors, in cores."""
    groups = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            folder, quota = groups, _quota_v2
        elif "cpu" in controllers.split(","):
            folder, quota = groups / "cpu", _quota_v1
        else:
            continue
        path = folder / group.lstrip("/")
        # A container may show the group's path on the host but mount only the root of the hierarchy.
        for place in (path, *path.parents):
            if place.is_relative_to(folder):
                yield from quota(place)


def _quota_v2(folder: Path) -> Iterator[float]:
    yield from _ratio(*_read(folder / "cpu.max").split())


def _quota_v1(folder: Path) -> Iterator[float]:
    yield from _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _ratio(quota: str = "", period: str = "") -> Iterator[float]:
    # Without a limit, version 2 has "max" and version 1 has -1.
    if quota.isdecimal() and period.isdecimal() and int(period):
        yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
