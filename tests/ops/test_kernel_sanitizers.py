"""The kernels under the sanitizers: built from source with a driver that tries odd sizes."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "gpt2cli/ops/c_kernels"
DRIVER = [Path(__file__).with_name(name) for name in ("kernel_driver.c", "kernel_checks.c")]
COMPILER = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
FLAGS = (
    *("-std=gnu11", "-ffp-contract=off", "-g", "-pthread", "-Wno-psabi"),
    *(f"-I{SOURCES}", "-fno-sanitize-recover=all"),
)
ADDRESSES = "-fsanitize=address,undefined,float-cast-overflow"
THREADS = "-fsanitize=thread"
# All but those that need Python.
ALL = sorted(path.stem for path in SOURCES.glob("*.c") if not path.stem.startswith("py_"))

pytestmark = pytest.mark.skipif(not shutil.which(COMPILER[0]), reason=f"there is no {COMPILER[0]}")


def build(folder: Path, names: Iterable[str], *flags: str) -> Path:
    """Compile the named sources and the driver, and return the program; skip where a flag is not known."""

    def compile_one(source: Path) -> str:
        target = folder / f"{source.stem}.o"
        # Unoptimized kernels keep every access, and are compiled in a third of the time.
        level = "-O1" if source in DRIVER else "-O0"
        run([*COMPILER, *FLAGS, *flags, level, "-c", str(source), "-o", str(target)])
        return str(target)

    empty = folder / "empty.c"
    empty.write_text("int main(void) { return 0; }\n")
    trial = [*COMPILER, *FLAGS, *flags, str(empty), "-o", str(folder / "empty")]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip(f"{COMPILER[0]} has no {flags[0]}")
    with ThreadPoolExecutor(2) as two:
        objects = list(two.map(compile_one, [*(SOURCES / f"{name}.c" for name in names), *DRIVER]))
    run([*COMPILER, *FLAGS, *flags, *objects, "-lm", "-o", str(folder / "driver")])
    return folder / "driver"


def run(command: Sequence[str]) -> str:
    # GCC 13 misaligns vectors in the frames that it moves to the heap for this.
    environment = os.environ | {"ASAN_OPTIONS": "detect_stack_use_after_return=0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-4000:] or done.returncode
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kernels_touch_no_memory_but_their_own_and_rely_on_nothing_undefined(tmp_path: Path) -> None:
    # A sanitizer ends the driver at its first find, before it counts its checks.
    *names, checks = run([str(build(tmp_path, ALL, ADDRESSES)), "all"]).split()
    assert names[0] == "generic"
    assert int(checks) > 500_000 * len(names)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_threads_share_nothing_that_one_of_them_changes(tmp_path: Path) -> None:
    # The pool and the division into tasks are the same for every instruction set.
    left_out = ("avx2", "avx512")
    alike = [f"-Dkernels_{name}=kernels_generic" for name in left_out]
    program = build(tmp_path, (name for name in ALL if name not in left_out), THREADS, *alike)
    assert run([str(program), "few"]).startswith("generic")
