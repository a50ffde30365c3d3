"""The kernels and the driver that checks them, as programs without Python."""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "gpt2cli/ops/c_kernels"
DRIVER = [Path(__file__).parent / "ops" / name for name in ("kernel_driver.c", "kernel_checks.c")]
COMPILER = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
FLAGS = (
    *("-std=gnu11", "-ffp-contract=off", "-g", "-pthread", "-Wno-psabi"),
    *(f"-I{SOURCES}", "-fno-sanitize-recover=all"),
)
ADDRESSES = "-fsanitize=address,undefined,float-cast-overflow"
# All but those that need Python.
ALL = sorted(path.stem for path in SOURCES.glob("*.c") if not path.stem.startswith("py_"))


def build(
    folder: Path, names: Iterable[str], *flags: str, compiler: Sequence[str] = COMPILER, level: str = "-O0"
) -> Path:
    """Compile the named sources and the driver, and return the program; skip where a flag is not known."""

    def compile_one(source: Path) -> str:
        target = folder / f"{source.stem}.o"
        # Unoptimized kernels keep every access, and are compiled in a third of the time.
        own = "-O1" if source in DRIVER else level
        run([*compiler, *FLAGS, *flags, own, "-c", str(source), "-o", str(target)])
        return str(target)

    empty = folder / "empty.c"
    empty.write_text("int main(void) { return 0; }\n")
    trial = [*compiler, *FLAGS, *flags, str(empty), "-o", str(folder / "empty")]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip(f"{compiler[0]} has no {' '.join(flags)}")
    with ThreadPoolExecutor(2) as two:
        objects = list(two.map(compile_one, [*(SOURCES / f"{name}.c" for name in names), *DRIVER]))
    run([*compiler, *FLAGS, *flags, *objects, "-lm", "-o", str(folder / "driver")])
    return folder / "driver"


def run(command: Sequence[str], *, finds_leaks: bool = True) -> str:
    """Return what a program that succeeds prints."""
    # GCC 13 misaligns vectors in the frames that it moves to the heap for this.
    options = f"detect_stack_use_after_return=0:detect_leaks={int(finds_leaks)}"
    environment = os.environ | {"ASAN_OPTIONS": options}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-4000:] or done.returncode
    return done.stdout
