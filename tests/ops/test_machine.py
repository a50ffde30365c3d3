"""The reported facts about this machine and its packages."""

from __future__ import annotations

from importlib.metadata import version

from gpt2cli.ops.machine import processor_name, versions


def test_a_package_that_is_not_installed_has_no_version() -> None:
    found = versions(["numpy", "no-such-package"])
    assert list(found) == ["gpt2cli", "python", "numpy", "no-such-package"]
    assert (found["numpy"], found["no-such-package"]) == (version("numpy"), None)


def test_the_processor_has_a_name() -> None:
    assert processor_name().strip()
