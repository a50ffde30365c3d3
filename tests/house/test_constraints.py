"""The pins of constraints.txt; `make constraints` resolves them, which needs the network."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from constraints import CONSTRAINTS, HASHED, PIN, PROJECT, pins, supported_pythons
from packaging.requirements import Requirement

PINS = [Requirement(line) for line in CONSTRAINTS.read_text("utf-8").splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("python", supported_pythons())
def test_a_package_has_one_pin_at_most_on_each_python(python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    applying = [pin for pin in PINS if pin.marker is None or pin.marker.evaluate(environment)]
    assert max(Counter(pin.name for pin in applying).values()) == 1


def test_every_line_pins_one_version() -> None:
    assert {tuple(part.operator for part in pin.specifier) for pin in PINS} == {("==",)}


def test_what_gpt2cli_needs_is_pinned_by_hashes_in_the_same_versions() -> None:
    hashed = HASHED.read_text("utf-8")
    versions = set(PIN.findall(hashed))
    assert versions <= pins()
    needed = re.search(r"^dependencies = \[(.*?)^\]", PROJECT.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert needed
    assert set(re.findall(r'"([\w-]+)', needed[1])) <= {name for name, _ in versions}
    for pin in re.split(r"\n(?=\w)", hashed)[1:]:
        assert "--hash=sha256:" in pin
