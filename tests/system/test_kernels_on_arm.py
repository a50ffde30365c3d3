"""The kernels on 64-bit Arm, cross-compiled and run in an emulator, against the same loops as everywhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from kernel_programs import ADDRESSES, ALL, COMPILER, DRIVER, SOURCES, build, run

CROSS_COMPILER = "aarch64-linux-gnu-gcc"
EMULATOR = "qemu-aarch64"
# Where Debian and Ubuntu put the libraries of the other architecture.
EMULATED = (EMULATOR, "-L", "/usr/aarch64-linux-gnu")
CHECKS = 2_000_000
# The oldest processor, one with dot products, and the newest.
SETS = {
    "cortex-a53": ["generic"],
    "neoverse-n1": ["generic", "dotprod"],
    "max": ["generic", "dotprod", "i8mm"],
}
HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.system,
    *(
        pytest.mark.skipif(not shutil.which(name), reason=f"there is no {name}")
        for name in (CROSS_COMPILER, EMULATOR)
    ),
]


@pytest.fixture(scope="module")
def optimized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the optimized kernels and their driver."""
    folder = tmp_path_factory.mktemp("optimized")
    build(folder, ALL, compiler=[CROSS_COMPILER], level="-O3")
    return folder


@pytest.mark.timeout(1800)
def test_kernels_on_arm_touch_no_memory_but_their_own(tmp_path: Path) -> None:
    program = build(tmp_path, ALL, ADDRESSES, compiler=[CROSS_COMPILER], level="-O1")
    # Leaks cannot be found in an emulator, and the sanitizer reads the emulator's own environment.
    *names, checks = run([*EMULATED, "-cpu", "max", str(program), "all"], finds_leaks=False).split()
    assert names == SETS["max"]
    assert int(checks) > CHECKS


@pytest.mark.timeout(900)
@pytest.mark.parametrize("processor", SETS)
def test_a_processor_on_arm_runs_the_kernels_that_it_can_and_they_are_right(
    processor: str, optimized: Path
) -> None:
    *names, checks = run([*EMULATED, "-cpu", processor, str(optimized / "driver"), "all"]).split()
    assert names == SETS[processor]
    assert int(checks) > CHECKS


@pytest.mark.timeout(900)
@pytest.mark.skipif(not shutil.which(COMPILER[0]), reason=f"there is no {COMPILER[0]}")
@pytest.mark.parametrize(("rows", "fewer"), [(1, 8), (16, 5)])
def test_products_of_bytes_take_a_fraction_of_the_generic_instructions(
    rows: int, fewer: int, optimized: Path, tmp_path: Path
) -> None:
    """Speed cannot be measured in an emulator; the number of instructions can be counted."""
    plugin = tmp_path / "counter.so"
    run([*COMPILER, "-shared", "-fPIC", str(HERE / "instruction_counter.c"), "-o", str(plugin)])
    objects = [str(path) for path in optimized.glob("*.o") if path.stem not in {path.stem for path in DRIVER}]
    program = tmp_path / "product"
    source = str(HERE / "kernel_product.c")
    run([CROSS_COMPILER, f"-I{SOURCES}", source, *objects, "-pthread", "-lm", "-o", str(program)])

    def instructions(name: str) -> int:
        """Return how many a product takes: those that one more adds."""
        command = [*EMULATED, "-cpu", "max", "-plugin", str(plugin), str(program), name, "int8", str(rows)]
        once, twice = (int(run([*command, "256", "256", str(times)])) for times in (1, 2))
        return twice - once

    generic, dot_products, matrix_products = map(instructions, SETS["max"])
    assert generic > fewer * dot_products > fewer * matrix_products > 0
