"""The rules for kernel sources that docs/kernels.md explains."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for path in (ROOT / "gpt2cli/ops/c_kernels").iterdir() if path.is_file())
ENUM = re.compile(r"enum \{(.*?)\}", re.DOTALL)
CONSTANT = re.compile(r"^\s*(?:#define )?([A-Z][A-Z0-9_]+)\b", re.MULTILINE)
MACRO = re.compile(r"#define ([A-Z][A-Z0-9_]+)\b")


def code(source: Path) -> str:
    """Return a source without its comments."""
    return re.sub(r"/\*.*?\*/", "", source.read_text(encoding="utf-8"), flags=re.DOTALL)


def constants(source: Path) -> set[str]:
    text = code(source)
    return {name for body in ENUM.findall(text) for name in CONSTANT.findall(body)} | set(MACRO.findall(text))


def test_a_constant_that_differs_between_instruction_sets_begins_with_isa() -> None:
    for source in SOURCES:
        if source.name == "isa.inc":
            assert constants(source)
            assert all(name.startswith("ISA_") for name in constants(source))
        else:
            assert "ISA_" not in "".join(ENUM.findall(code(source))), source.name


def test_no_constant_is_defined_in_two_files() -> None:
    found: dict[str, str] = {}
    for source in SOURCES:
        for name in constants(source):
            # Each instruction set gives the parameters of isa.inc its values.
            assert name.startswith("ISA_") or found.setdefault(name, source.name) == source.name, name


def test_no_source_is_longer_than_300_lines() -> None:
    for source in SOURCES:
        assert len(source.read_text(encoding="utf-8").splitlines()) <= 300, source.name


def test_the_map_of_the_kernels_names_every_file() -> None:
    text = (ROOT / "docs/kernels.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+\.(?:c|h|inc))`", text))
    assert named == {source.name for source in SOURCES}
