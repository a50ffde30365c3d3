"""The kernels under the sanitizers: built from source with a driver that tries odd sizes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from kernel_programs import ADDRESSES, ALL, COMPILER, build, run

THREADS = "-fsanitize=thread"

pytestmark = pytest.mark.skipif(not shutil.which(COMPILER[0]), reason=f"there is no {COMPILER[0]}")


@pytest.mark.system
@pytest.mark.timeout(600)
def test_kernels_touch_no_memory_but_their_own_and_rely_on_nothing_undefined(tmp_path: Path) -> None:
    # A sanitizer ends the driver at its first find, before it counts its checks.
    *names, checks = run([str(build(tmp_path, ALL, ADDRESSES)), "all"]).split()
    assert names[0] == "generic"
    assert int(checks) > 500_000 * len(names)


@pytest.mark.system
@pytest.mark.timeout(600)
def test_threads_share_nothing_that_one_of_them_changes(tmp_path: Path) -> None:
    # The pool and the division into tasks are the same for every instruction set.
    left_out = ("avx2", "avx512")
    alike = [f"-Dkernels_{name}=kernels_generic" for name in left_out]
    program = build(tmp_path, (name for name in ALL if name not in left_out), THREADS, *alike)
    assert run([str(program), "few"]).startswith("generic")
