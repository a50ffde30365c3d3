"""Words confined to one place in the package: flags, and weight names in files."""

from __future__ import annotations

import re

import pytest
from module_facts import PACKAGE, facts

from gpt2cli.checkpoint.architectures import ARCHITECTURES

FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
LIBRARY = [name for name in FILES if not name.startswith("cli/")]
FLAG = re.compile(r"--[a-z]")
# These start programs, whose arguments are whole strings.
STARTS_PROGRAMS = {"benchmark/engines.py", "benchmark/peers/llama_cpp.py"}
ARGUMENT = re.compile(r"--[a-z][a-z-]*")
NAMES = [(row, name) for row in ARCHITECTURES for name in row.weight_names.values()]
# What a weight is called, and where in the model it is.
# Words of other things too; a weight's whole name has further ones.
EVERYDAY = {"norm", "model.", "layers."}
CALLED = {name.split(".")[-1] for _, name in NAMES} - EVERYDAY
PLACES = (
    {row.prefix for row in ARCHITECTURES}
    | {name.removeprefix(row.prefix).partition("{layer}")[0] for row, name in NAMES if "{layer}" in name}
) - EVERYDAY
WEIGHT_NAME = re.compile(
    rf"\b({'|'.join(map(re.escape, CALLED))})\b|(^|\.)({'|'.join(map(re.escape, PLACES))})"
)


def strings(name: str) -> tuple[str, ...]:
    return facts(FILES[name]).strings


def test_only_the_command_line_knows_flags() -> None:
    for name in LIBRARY:
        told = [text for text in strings(name) if FLAG.search(text)]
        if name in STARTS_PROGRAMS:
            told = [text for text in told if not ARGUMENT.fullmatch(text)]
        assert not told, name


@pytest.mark.slow
def test_only_the_architectures_know_what_files_call_a_weight() -> None:
    for name in FILES.keys() - {"checkpoint/architectures.py"}:
        assert not [text for text in strings(name) if WEIGHT_NAME.search(text)], name


def test_the_names_of_weights_would_be_found() -> None:
    written = {
        text.split(".")[-1] for text in strings("checkpoint/architectures.py") if WEIGHT_NAME.search(text)
    }
    assert written >= CALLED
    assert all(map(WEIGHT_NAME.search, ("wte.weight", "h.", "transformer.", "h.3.mlp.c_fc.bias", "lm_head")))
