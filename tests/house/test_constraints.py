"""The pins of constraints.txt; `make constraints` resolves them, which needs the network."""

from __future__ import annotations

from collections import Counter

import pytest
from constraints import CONSTRAINTS, supported_pythons
from packaging.requirements import Requirement

PINS = [Requirement(line) for line in CONSTRAINTS.read_text("utf-8").splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("python", supported_pythons())
def test_a_package_has_one_pin_at_most_on_each_python(python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    applying = [pin for pin in PINS if pin.marker is None or pin.marker.evaluate(environment)]
    assert max(Counter(pin.name for pin in applying).values()) == 1


def test_every_line_pins_one_version() -> None:
    assert {tuple(part.operator for part in pin.specifier) for pin in PINS} == {("==",)}
