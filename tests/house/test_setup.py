"""The optional build of the compiled kernels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools", reason="setuptools is not installed")

ROOT = Path(__file__).parents[2]
SOURCES = Path("gpt2cli/ops/c_kernels")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of the sources that has never been built."""
    unneeded = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "data")
    shutil.copytree(ROOT / "gpt2cli", tmp_path / "gpt2cli", ignore=unneeded)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def setup(tree: Path, *arguments: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "setup.py", *arguments],
        cwd=tree,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_without_a_compiler_the_build_succeeds_and_has_no_kernels(tree: Path) -> None:
    output = setup(tree, "build_ext", "--inplace", CC="false", LDSHARED="false")
    assert 'building extension "gpt2cli.ops.kernels" failed' in output
    assert not [path for path in tree.rglob("kernels.*") if path.suffix in (".so", ".pyd")]


def test_a_package_that_was_never_built_computes_on_numpy(tree: Path) -> None:
    code = "from gpt2cli.ops.backend import open_backend; print(open_backend('cpu').name)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=True)
    assert done.stdout == "numpy\n"


@pytest.mark.slow
def test_a_source_distribution_has_all_that_a_compiler_reads(tree: Path) -> None:
    setup(tree, "sdist", "--formats=gztar")
    (archive,) = (tree / "dist").iterdir()
    with tarfile.open(archive) as file:
        packed = {Path(*Path(name).parts[1:]) for name in file.getnames()}
    assert {SOURCES / path.name for path in (tree / SOURCES).iterdir()} <= packed


def test_the_build_watches_every_file_of_the_kernels(tree: Path) -> None:
    code = (
        "import setuptools; from distutils.core import run_setup\n"
        "(kernels,) = run_setup('setup.py', stop_after='init').ext_modules\n"
        "print(*kernels.sources, *kernels.depends, sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=True)
    assert {Path(line) for line in done.stdout.splitlines()} == {
        SOURCES / path.name for path in (tree / SOURCES).iterdir()
    }
