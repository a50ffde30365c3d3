"""How many threads the products of matrices use, and how many cores this process may use."""

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
# Numpy asks for large pages, which are cleared whole when they are first touched: of a KV cache with room for
# 900 tokens, 0.3 s before the first of them, on a virtual machine whose host takes back what is free.
PAGES_VARIABLE = "NUMPY_MADVISE_HUGEPAGE"
# OpenBLAS in numpy's wheels, OpenBLAS as distributions build it, MKL.
SETTERS = ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads", "MKL_Set_Num_Threads")
GETTERS = ("scipy_openblas_get_num_threads64_", "openblas_get_num_threads", "MKL_Get_Max_Threads")


def available_cores() -> int:
    """Return the number of cores that this process may keep busy, at least 1."""
    limits = list(_cgroup_quotas(Path("/")))
    # Systems other than Linux tell no affinity.
    limits.append(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    # Rounded down: a thread beyond the quota has all of them stopped for the rest of each period.
    return max(1, math.floor(min(limits)))


def threads_are_chosen() -> bool:
    """Tell whether a variable of the environment, such as OMP_NUM_THREADS, sets the number of threads."""
    return any(os.environ.get(name) for name in THREAD_VARIABLES)


def threads_from_environment() -> int | None:
    """Return the number of threads that the environment asks for, None if it asks for none."""
    values = (os.environ.get(name, "") for name in THREAD_VARIABLES)
    return next((int(value) for value in values if value.isdigit() and int(value) > 0), None)


def set_blas_threads(count: int | None) -> int | None:
    """Set the number of threads of numpy's BLAS, import numpy with it, and return it.

    None asks for one per available core, or leaves the choice to variables such as OMP_NUM_THREADS where
    any is set, and then returns None. Imported here, numpy takes memory page by page, unless its own variable
    says otherwise.
    """
    if count is None and not threads_are_chosen():
        count = available_cores()
    if "numpy" in sys.modules:
        # It may have been told another number since it read the variables.
        number = count or threads_from_environment()
    else:
        values = {PAGES_VARIABLE: os.environ.get(PAGES_VARIABLE, "0")}
        if count:
            values |= dict.fromkeys(THREAD_VARIABLES, str(count))
        with _variables(values):
            import_module("numpy")
        # Some BLAS reads the variables only when it is first used.
        number = count
    if number:
        _call_loaded_blas(SETTERS, ctypes.c_int(number))
    return count


def blas_threads() -> int | None:
    """Return the number of threads that numpy's BLAS uses, None if it does not tell; imports numpy."""
    import_module("numpy")
    return _call_loaded_blas(GETTERS)


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Have the environment hold some values, but not for longer than it takes to load numpy."""
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        # Libraries loaded later, and other processes, are to see what the user set.
        for name in values:
            os.environ.pop(name, None)
        os.environ.update(before)


def _call_loaded_blas(names: Sequence[str], *arguments: ctypes.c_int) -> int | None:
    # A symbol is also looked up in the libraries that numpy's own is linked to.
    library = ctypes.CDLL(sys.modules["numpy._core._multiarray_umath"].__file__)
    for name in names:
        if hasattr(library, name):
            return int(getattr(library, name)(*arguments))
    return None


def _cgroup_quotas(root: Path) -> Iterator[float]:
    """Yield every limit on CPU time that applies, in cores; a group is also bound by those above it."""
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
        # In a container the group may be named as the host sees it, while only the mount's top is there.
        for place in (path, *path.parents):
            if place.is_relative_to(folder):
                yield from quota(place)


def _quota_v2(folder: Path) -> Iterator[float]:
    yield from _ratio(*_read(folder / "cpu.max").split())


def _quota_v1(folder: Path) -> Iterator[float]:
    yield from _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _ratio(quota: str = "", period: str = "") -> Iterator[float]:
    # Without a limit version 2 says "max", version 1 says -1.
    if quota.isdigit() and period.isdigit() and int(period):
        yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
