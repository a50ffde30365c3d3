"""Resolve constraints.txt on every supported Python and system; `make constraints`, with uv and a network.

Only metadata is fetched. Everything that would be installed must be pinned, and every pin must be used.
What is needed to run is also pinned by its hashes, in constraints-hashed.txt.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
HASHED = ROOT / "constraints-hashed.txt"
PROJECT = ROOT / "pyproject.toml"
HEADER = """\
# What gpt2cli needs to run, by the hashes of all its files on PyPI; `make constraints` writes this.
#   pip install --require-hashes -r constraints-hashed.txt && pip install --no-deps .
"""
# PyTorch 2.6 and later have no wheels for Macs with Intel processors.
SYSTEMS: dict[str, tuple[str, ...]] = {
    "x86_64-manylinux_2_28": ("dev", "ray"),
    "aarch64-manylinux_2_28": ("dev", "ray"),
    "aarch64-apple-darwin": ("dev", "ray"),
    "x86_64-apple-darwin": (),
}
# What .ci/run and the tests marked system install, some of which has no wheels.
CI = ("3.11", "x86_64-manylinux_2_28", ("dev", "system"))
# PyTorch pins its libraries for CUDA itself, and they differ between its builds.
PINNED_BY_TORCH = re.compile(r"(nvidia|cuda)-[\w-]+|triton")
PIN = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def supported_pythons() -> list[str]:
    """Return the versions that pyproject.toml claims."""
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT.read_text("utf-8"))


def pins() -> set[tuple[str, str]]:
    """Return the names and versions of constraints.txt, whatever their markers."""
    return set(PIN.findall(CONSTRAINTS.read_text("utf-8")))


def resolve(
    python: str, system: str, extras: tuple[str, ...], only_wheels: bool = True
) -> set[tuple[str, str]]:
    """Return what is installed on one Python and system.

    Raises:
        SystemExit: the constraints cannot be met there.
    """
    done = subprocess.run(
        [
            *("uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"),
            *(("--only-binary", ":all:") if only_wheels else ()),
            *("--python-version", python, "--python-platform", system, "--constraints", str(CONSTRAINTS)),
            *(word for extra in extras for word in ("--extra", extra)),
            str(PROJECT),
        ],
        # The oldest macOS that PyTorch has wheels for.
        env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"Python {python} on {system}: {done.stderr.strip()}")
    # PyTorch chooses its own libraries.
    return {pin for pin in PIN.findall(done.stdout) if not PINNED_BY_TORCH.fullmatch(pin[0])}


def write_hashes() -> None:
    """Write constraints-hashed.txt: the pins of what gpt2cli needs to run, with their hashes.

    Raises:
        SystemExit: the constraints cannot be met.
    """
    done = subprocess.run(
        [
            *(
                "uv",
                "pip",
                "compile",
                "--quiet",
                "--no-header",
                "--no-annotate",
                "--universal",
                "--generate-hashes",
            ),
            *("--python-version", supported_pythons()[0], "--constraints", str(CONSTRAINTS), str(PROJECT)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr.strip())
    HASHED.write_text(HEADER + done.stdout, "utf-8")


def main() -> None:
    """Resolve everywhere, and exit with what is not pinned or not used."""
    pinned, used = pins(), set[tuple[str, str]]()
    problems: list[str] = []
    places = [(python, *place, True) for python in supported_pythons() for place in SYSTEMS.items()]
    for python, system, extras, only_wheels in (*places, (*CI, False)):
        found = resolve(python, system, extras, only_wheels)
        problems += [
            f"Python {python} on {system}: {name}=={version} is not pinned"
            for name, version in sorted(found - pinned)
        ]
        used |= found
        print(f"Python {python} on {system}: {len(found)} packages", file=sys.stderr)
    problems += [f"{name}=={version} is used nowhere" for name, version in sorted(pinned - used)]
    if problems:
        sys.exit("\n".join(problems))
    write_hashes()


if __name__ == "__main__":
    main()
