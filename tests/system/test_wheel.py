"""The wheel: two builds of the same sources, in different places, have the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.system


def build(folder: Path) -> bytes:
    """Build the tracked sources in a folder, and return the wheel."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    for name in filter(None, names.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "made", "."],
        cwd=folder,
        env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
        check=True,
    )
    (wheel,) = (folder / "made").iterdir()
    return wheel.read_bytes()


@pytest.mark.timeout(900)
def test_a_wheel_is_the_same_wherever_it_is_built(tmp_path: Path) -> None:
    assert build(tmp_path / "here") == build(tmp_path / "there" / "and deeper")
