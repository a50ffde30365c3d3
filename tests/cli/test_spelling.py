"""Parameters in the library's messages, spelled as flags by the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoints import save_model_folder
from conftest import Gpt2

from gpt2cli.cli.command_table import Commands
from gpt2cli.cli.spelling import SYNONYMS, spell
from gpt2cli.errors import Error
from gpt2cli.hub.model_files import fetch_model
from gpt2cli.ops.backend import open_backend


@pytest.mark.parametrize(
    ("words", "message", "expected"),
    [
        (["train"], "Lower `learning_rate`.", "Lower --learning-rate."),
        (["train"], "`parent` and `output`", "--from and --output"),
        (["train"], "`evaluate_every` must be 1 or more.", "--eval-every must be 1 or more."),
        (["train"], "There is no text in `texts`.", "There is no text in TEXT."),
        (["generate", "models"], "`temperature` or `prompt`", "--temperature or PROMPT"),
        (["score", "x.txt"], "Use `bos=False`.", "Use --no-bos."),
        (["models", "verify", "gpt2"], "`quiet`", "--quiet"),
        # What is no parameter of the command, or of any, stays.
        (["info"], "Use `device` cpu.", "Use `device` cpu."),
        (
            ["train"],
            "Run `gpt2 download gpt2`, `x`, `bos=False`.",
            "Run `gpt2 download gpt2`, `x`, `bos=False`.",
        ),
        (["--help"], "Use `device` cpu.", "Use `device` cpu."),
        ([], "Use `device` cpu.", "Use `device` cpu."),
        # A message may name another command.
        (["generate"], "gpt2 download MODEL with `force`.", "gpt2 download MODEL with --force."),
        (["info"], "gpt2 models rm MODEL with `yes`.", "gpt2 models rm MODEL with --yes."),
    ],
)
def test_a_parameter_is_spelled_as_its_command_has_it(words: list[str], message: str, expected: str) -> None:
    assert spell(message, words) == expected


def leaves(commands: Any) -> Iterator[Any]:
    for name in commands:
        inner = getattr(commands[name], "commands", None)
        yield from leaves(inner) if inner else [commands[name]]


def test_synonyms_are_of_parameters_that_a_command_has() -> None:
    names = {parameter.name for command in leaves(Commands()) for parameter in command.params}
    assert set(SYNONYMS.values()) <= names
    assert not SYNONYMS.keys() & names


def test_a_flag_stands_in_the_error_of_a_command_and_a_parameter_in_that_of_a_call(gpt2: Gpt2) -> None:
    with pytest.raises(Error) as caught:
        open_backend(quantize="int8", device="cuda")
    assert str(caught.value) == "`quantize` int8 works only on a CPU. Leave it out, or use `device` cpu."
    result = gpt2("generate", "x", "-m", "stories", "--quantize", "int8", "--device", "cuda")
    assert result.returncode == 2
    assert (
        result.stderr == b"Error: --quantize int8 works only on a CPU. Leave it out, or use --device cpu.\n"
    )


def test_what_forbids_the_network_is_named_as_it_was_given(gpt2: Gpt2) -> None:
    with pytest.raises(Error, match="Run gpt2 download acme/none without `offline` and HF_HUB_OFFLINE"):
        fetch_model("acme/none", offline=True)
    result = gpt2("generate", "x", "-m", "acme/none", "--offline")
    assert b"Run gpt2 download acme/none without --offline and HF_HUB_OFFLINE.\n" in result.stderr


def test_a_hint_may_be_about_a_flag_of_another_command(gpt2: Gpt2, tmp_path: Path) -> None:
    save_model_folder(tmp_path, vocab_size=300)
    (tmp_path / "model.safetensors").write_bytes(b"")
    result = gpt2("generate", "x", "-m", tmp_path)
    assert result.returncode == 1
    assert result.stderr.endswith(b"Fetch it again: gpt2 download MODEL with --force.\n")
