"""docs/scripts.md: JSON fields match the commands' output, and variables match the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from readme import DOCS, ROOT, run_command

from gpt2cli.cli.app import app

PAGE = (DOCS / "scripts.md").read_text()
CELL = re.compile(r"(?<!\\)\|")
CODE = re.compile(r"`([^`]+)`")
VARIABLE = re.compile(
    r"""["'](GPT2_\w+|HF_\w+|HUGGINGFACE_\w+|TRANSFORMERS_\w+|XDG_\w+|SSL_CERT_\w+|\w+_CA_BUNDLE|"""
    r"""NO_COLOR|\w+_THREADS|OMP_\w+_POLICY|LLAMA_CPP_BIN)["']"""
)
# Set by the program, for the libraries that it uses.
OWN = re.compile(r"HF_HUB_(DISABLE_\w+|VERBOSITY)")
# Read by the Hub's client.
FOREIGN = {"HTTPS_PROXY", "HF_TOKEN", "HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"}


def tables(heading: str) -> list[list[list[str]]]:
    """Return the tables of a section as rows of cells."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    return [
        [
            [cell.strip().replace("\\|", "|") for cell in CELL.split(line.strip())[1:-1]]
            for line in table.splitlines()[2:]
        ]
        for table in found
    ]


def parts_by_command() -> dict[str, dict[str, list[str]]]:
    """Return the fields of each part of what each command prints; the whole is the part without a name."""
    found: dict[str, dict[str, list[str]]] = {}
    command = ""
    for first, part, names in tables("JSON fields")[0]:
        command = first.strip("`") or command
        found.setdefault(command, {})[part.strip("`")] = CODE.findall(names)
    return found


PARTS = parts_by_command()


@pytest.mark.slow
@pytest.mark.parametrize("command", PARTS)
def test_a_command_prints_the_fields_that_the_table_names(command: str, tmp_path: Path) -> None:
    done = run_command(command, tmp_path)
    assert not done.returncode, done.stderr
    lines = prints_lines(command)
    values = [json.loads(line) for line in done.stdout.splitlines()] if lines else json.loads(done.stdout)
    printed = values[0] if isinstance(values, list) else values
    for part, names in PARTS[command].items():
        assert list(part_of(printed, part)) == names, part


def prints_lines(command: str) -> bool:
    """Return whether the page says that a command prints JSON lines; all others print one value."""
    listed = PAGE.partition("print\nJSON lines instead")[2].partition("\n\n")[0]
    last = command.rpartition("| ")[2]
    return last.removeprefix("gpt2 ").split()[0] in CODE.findall(listed)[:3] or "--jsonl" in last


def part_of(value: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        value = value[name]
        if isinstance(value, list):
            value = value[0]
    return value


def test_every_field_is_explained_once() -> None:
    explained = [name for row in tables("JSON fields")[1] for name in CODE.findall(row[0])]
    assert len(explained) == len(set(explained))
    assert set(explained) == {name for parts in PARTS.values() for names in parts.values() for name in names}


def test_every_command_with_json_is_in_the_table() -> None:
    for path in commands_with_json(typer.main.get_command(app), "gpt2"):
        assert any(f"{path} " in command for command in PARTS), path


def commands_with_json(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_with_json(command, f"{path} {name}")
        elif any("--json" in parameter.opts for parameter in command.params):
            yield f"{path} {name}"


def test_the_variables_are_those_that_the_code_reads() -> None:
    (rows,) = tables("Environment variables")
    named = [row[0].strip("`") for row in rows]
    code = "".join(path.read_text() for path in (ROOT / "gpt2cli").rglob("*.py"))
    read = {name for name in VARIABLE.findall(code) if not OWN.fullmatch(name)}
    assert sorted(named) == sorted(read | FOREIGN)
