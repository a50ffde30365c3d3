"""The kernels on 64-bit Arm, cross-compiled and run in an emulator, against the same loops as everywhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from kernel_programs import ADDRESSES, ALL, build, run

COMPILER = "aarch64-linux-gnu-gcc"
EMULATOR = "qemu-aarch64"
# Where Debian and Ubuntu put the libraries of the other architecture; leaks cannot be found in an emulator.
LIBRARIES = ("-L", "/usr/aarch64-linux-gnu")
EMULATED = (EMULATOR, *LIBRARIES, "-E", "ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0")
CHECKS = 2_000_000

pytestmark = [
    pytest.mark.system,
    *(
        pytest.mark.skipif(not shutil.which(name), reason=f"there is no {name}")
        for name in (COMPILER, EMULATOR)
    ),
]


@pytest.mark.timeout(900)
def test_kernels_on_arm_touch_no_memory_but_their_own(tmp_path: Path) -> None:
    program = build(tmp_path, ALL, ADDRESSES, compiler=[COMPILER], level="-O1")
    name, checks = run([*EMULATED, str(program), "all"]).split()
    assert name == "generic"
    assert int(checks) > CHECKS


@pytest.mark.timeout(900)
@pytest.mark.parametrize("processor", ["cortex-a53", "max"])
def test_optimized_kernels_on_arm_are_right_on_the_oldest_processor_and_the_newest(
    processor: str, tmp_path: Path
) -> None:
    program = build(tmp_path, ALL, compiler=[COMPILER], level="-O3")
    name, checks = run([*EMULATED, "-cpu", processor, str(program), "all"]).split()
    assert name == "generic"
    assert int(checks) > CHECKS
