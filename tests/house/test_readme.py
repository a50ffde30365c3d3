"""README: its examples are what the commands print, its tree is what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from readme import BLOCK, README, regenerated

PACKAGE = README.parent / "gpt2cli"
NUMBER = re.compile(r"\d+\.\d+")
BLOCKS = BLOCK.findall(README.read_text())


@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[0] for block in BLOCKS])
def test_an_example_shows_what_its_commands_print(block: str) -> None:
    text = f"```console\n{block}```\n"
    again = regenerated(text)
    assert NUMBER.sub("#", again) == NUMBER.sub("#", text)
    # Processors differ in the last digits.
    assert numbers(again) == pytest.approx(numbers(text), rel=1e-3)


def numbers(text: str) -> list[float]:
    return [float(number) for number in NUMBER.findall(text)]


def test_the_tree_names_every_module_and_no_other() -> None:
    (tree,) = re.findall(
        r"^```\n(gpt2cli/\n.*?)^```$",
        (README.parent / "docs" / "architecture.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    named = set(re.findall(r"(\w+\.py)\b", tree))
    there = {path.name for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    assert named == there


def test_the_two_commands_do_all_the_set_up() -> None:
    lines = README.read_text().splitlines()
    assert 'pip install -c constraints.txt . && gpt2 generate "Once upon a time"' in lines
    assert "pip install -c constraints.txt -e '.[test]' && pytest" in lines


def test_links_to_files_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", README.read_text()):
        assert (README.parent / Path(target)).exists(), target
