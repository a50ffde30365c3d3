"""How many cores there are, and how many threads compute."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpt2cli import threads
from gpt2cli.threads import available_cores

SET = "from gpt2cli.threads import blas_threads, set_blas_threads; "


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
    code = "import os; from gpt2cli.threads import available_cores; "
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


def test_torch_uses_the_threads_asked_for() -> None:
    code = "import torch; from gpt2cli.backend import open_backend; "
    code += "open_backend('cpu', 'torch', threads=1); print(torch.get_num_threads())"
    assert run(code, {}) == "1"


def run(code: str, variables: dict[str, str]) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in threads.THREAD_VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
