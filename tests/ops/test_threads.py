"""The numbers of available cores and of threads in use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from backends import needs_kernels

from gpt2cli.ops import threads
from gpt2cli.ops.backend import open_backend
from gpt2cli.ops.threads import available_cores

SET = "from gpt2cli.ops.threads import blas_threads, set_blas_threads; "


def write(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.mark.parametrize(
    ("files", "quotas"),
    [
        ({}, []),
        ({"proc/self/cgroup": "0::/\n"}, []),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, []),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, [1.5]),
        (
            {
                "proc/self/cgroup": "0::/job/task\n",
                "sys/fs/cgroup/job/task/cpu.max": "max 100000\n",
                "sys/fs/cgroup/job/cpu.max": "400000 100000\n",
            },
            [4.0],
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/x\n3:cpuacct,cpu:/docker/abc\n0::/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            [2.0],
        ),
        (
            {
                "proc/self/cgroup": "3:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            [],
        ),
    ],
    ids=["none", "no limit", "max", "version 2", "parent's", "version 1 in a container", "version 1 off"],
)
def test_the_quotas_of_control_groups_are_found(
    tmp_path: Path, files: dict[str, str], quotas: list[float]
) -> None:
    write(tmp_path, files)
    assert list(threads._cgroup_quotas(tmp_path)) == quotas


@pytest.mark.parametrize(("quota", "cores"), [(0.5, 1), (1.0, 1), (1.9, 1), (1e9, None)])
def test_a_quota_limits_the_cores(monkeypatch: pytest.MonkeyPatch, quota: float, cores: int | None) -> None:
    monkeypatch.setattr(threads, "_cgroup_quotas", lambda root: iter([quota]))
    assert available_cores() == (cores or len(os.sched_getaffinity(0)))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux pins processes to cores")
def test_a_process_pinned_to_one_core_has_one() -> None:
    code = "import os; from gpt2cli.ops.threads import available_cores; "
    code += "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(available_cores())"
    assert run(code, {}) == "1"


@pytest.mark.parametrize("first", ["", "import numpy; "], ids=["before numpy", "after numpy"])
def test_the_threads_asked_for_are_those_of_blas(first: str) -> None:
    assert run(f"{first}{SET}print(set_blas_threads(1), blas_threads())", {}) in ("1 1", "1 None")


@pytest.mark.parametrize("first", ["", "import numpy; "], ids=["before numpy", "after numpy"])
def test_the_variables_of_the_user_decide_where_nothing_is_asked_for(first: str) -> None:
    code = f"{first}{SET}print(set_blas_threads(None), blas_threads())"
    assert run(code, {"OMP_NUM_THREADS": "1"}) in ("None 1", "None None")


def test_the_threads_asked_for_go_before_the_variables() -> None:
    code = f"{SET}print(set_blas_threads(1), blas_threads())"
    assert run(code, {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}) in ("1 1", "1 None")


LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MEMORY = "print(int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE') >> 20)"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has large pages that are asked for")
@pytest.mark.skipif(
    LARGE_PAGES.exists() and "[always]" in LARGE_PAGES.read_text(), reason="they come without being asked for"
)
def test_memory_that_holds_nothing_yet_is_not_touched() -> None:
    code = f"import os; {SET}set_blas_threads(1); import numpy; {MEMORY}; "
    code += f"a = numpy.empty(128 << 20, numpy.uint8); a[:: 16 << 20] = 1; {MEMORY}"
    before, after = map(int, run(code, {}).split())
    assert after - before < 4


OPEN = "import os; from gpt2cli.ops.backend import compute_threads, open_backend; "


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        "'cpu', 'numpy'",
        "'cpu', 'numpy', threads=1",
        pytest.param("'cpu', 'compiled'", marks=needs_kernels),
        pytest.param("'cpu', 'compiled', threads=1", marks=needs_kernels),
    ],
)
def test_other_processes_find_the_variables_that_the_user_set(arguments: str) -> None:
    names = (*threads.THREAD_VARIABLES, threads.PAGES_VARIABLE)
    code = f"{OPEN}open_backend({arguments}); print(*[os.environ.get(name) for name in {names}])"
    assert run(code, {}) == "None None None None None"
    variables = {"OMP_NUM_THREADS": "2", "NUMPY_MADVISE_HUGEPAGE": "1"}
    assert run(code, variables) == "None 2 None None 1"


@pytest.mark.slow
@needs_kernels
@pytest.mark.skipif(available_cores() < 2, reason="there is only one core")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("'compiled'", "numpy"),
        ("'compiled', threads=1", "numpy"),
        ("'numpy', threads=1", "numpy"),
        ("'numpy', threads=1", "compiled"),
        ("'compiled', threads=1", "torch"),
    ],
)
def test_a_second_backend_has_a_thread_for_each_core_whatever_the_first_has(first: str, second: str) -> None:
    code = f"{OPEN}open_backend('cpu', {first}); print(compute_threads(open_backend('cpu', {second!r})))"
    assert run(code, {}) == str(available_cores())


@needs_kernels
def test_a_second_backend_heeds_the_variables_of_the_user_too() -> None:
    code = f"{OPEN}open_backend('cpu', 'compiled'); print(compute_threads(open_backend('cpu', 'numpy')))"
    assert run(code, {"OMP_NUM_THREADS": "2"}) in ("2", "None")


@pytest.mark.slow
@needs_kernels
@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({}, available_cores()),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "0"}, available_cores()),
        ({"OMP_NUM_THREADS": "many"}, available_cores()),
        ({"OMP_NUM_THREADS": "²"}, available_cores()),
    ],
    ids=str,
)
def test_the_kernels_use_every_core_or_as_many_as_the_variables_say(
    variables: dict[str, str], count: int
) -> None:
    code = f"{OPEN}print(compute_threads(open_backend('cpu')))"
    assert run(code, variables) == str(count)
    asked = f"{OPEN}print(compute_threads(open_backend('cpu', threads=1)))"
    assert run(asked, variables) == "1"


@pytest.mark.parametrize("backend", [pytest.param("compiled", marks=needs_kernels), "numpy"])
def test_blas_has_no_threads_beside_those_of_the_backend(backend: str) -> None:
    code = (
        f"{OPEN}from gpt2cli.ops.threads import blas_threads; open_backend('cpu', {backend!r}, threads=3); "
    )
    code += "print(blas_threads())"
    assert run(code, {}) in ("1", "None")
    assert run(code, {"OMP_NUM_THREADS": "2"}) in ("1", "None")


def test_torch_uses_the_threads_asked_for() -> None:
    before = torch.get_num_threads()
    try:
        for count in (1, 2, 1):
            open_backend("cpu", "torch", threads=count)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="PyTorch uses another OpenMP elsewhere")
@pytest.mark.parametrize(
    ("variables", "spins"),
    [
        ({}, 0),
        ({"OMP_WAIT_POLICY": "active"}, 30_000_000_000),
        ({"GOMP_SPINCOUNT": "7", "OMP_NUM_THREADS": "2", "NUMPY_MADVISE_HUGEPAGE": "1"}, 7),
    ],
    ids=str,
)
def test_threads_of_openmp_sleep_unless_the_user_says_how_they_wait(
    variables: dict[str, str], spins: int
) -> None:
    names = (*threads.WAITING_VARIABLES, *threads.THREAD_VARIABLES, threads.PAGES_VARIABLE)
    others = {name: value for name, value in os.environ.items() if name not in names}
    code = f"{OPEN}open_backend('cpu', 'torch', threads=1); "
    code += f"print({{name: os.environ[name] for name in {names} if name in os.environ}})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=others | variables | {"OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
    # Other processes find the variables that the user set.
    assert done.stdout == f"{variables}\n"


def run(code: str, variables: dict[str, str]) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in threads.THREAD_VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
