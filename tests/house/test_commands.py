"""Commands are thin, and their options are data."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_origin

import pytest

from gpt2cli.cli.options.groups import option_types

CLI = Path(__file__).parents[2] / "gpt2cli" / "cli"
COMMANDS = sorted((CLI / "commands").rglob("*.py"))
OPTIONS = sorted((CLI / "options").rglob("[!_]*.py"))
LONGEST_COMMAND = 120
MOST_PARAMETERS = 12


def name_of(path: Path) -> str:
    return str(path.relative_to(CLI))


@pytest.mark.parametrize("path", COMMANDS, ids=name_of)
def test_a_command_is_thin(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_COMMAND
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert len(node.args.args) + len(node.args.kwonlyargs) <= MOST_PARAMETERS, node.name


def groups() -> Iterator[Any]:
    """Yield the groups of options, which are the frozen dataclasses of the options' modules."""
    for path in OPTIONS:
        place = path.relative_to(CLI / "options").with_suffix("")
        module = import_module(".".join(["gpt2cli.cli.options", *place.parts]))
        for value in vars(module).values():
            if isinstance(value, type) and is_dataclass(value) and value.__module__ == module.__name__:
                yield value


@pytest.mark.parametrize("group", list(groups()), ids=lambda group: group.__name__)
def test_a_group_of_options_is_a_frozen_dataclass_with_defaults_in_one_place(group: Any) -> None:
    assert group.__dataclass_params__.frozen
    known = {field.name for field in fields(group)}
    assert option_types(group).keys() <= known
    for annotation in option_types(group).values():
        assert get_origin(annotation) is Annotated
    base = group.__mro__[1]
    if is_dataclass(base):
        # The library has the defaults, and the group only says how they are spelled.
        assert not any(name in vars(group) for name in option_types(group))
