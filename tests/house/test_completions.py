"""Shell completion: the files match the app, and they work."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Gpt2

from gpt2cli.hub.known_models import KNOWN_MODELS

COMPLETIONS = Path(__file__).parents[2] / "completions"
FILES = {"bash": "gpt2.bash", "zsh": "_gpt2", "fish": "gpt2.fish"}
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


@pytest.fixture
def cached_model(environment: dict[str, str]) -> str:
    """Put a model into the cache of the environment and return its name.

    Beside it are folders that no model of the Hub has, and that a shell or a terminal would obey.
    """
    folder = Path(environment["HF_HOME"]) / "hub" / "models--someone--gpt2-tales"
    snapshot = folder / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    for name in ("model.safetensors", "tokenizer.json"):
        (snapshot / name).touch()
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    for name in ("$(touch x)", "'\"))'`touch x`", "\x1b[5mred\nother", "caf\udce9"):
        shutil.copytree(folder, folder.with_name(f"models--someone--{name}"))
    return "someone/gpt2-tales"


def complete_in_bash(line: str, environment: dict[str, str], folder: Path) -> list[str]:
    """Return what bash offers at the end of a line that begins with gpt2."""
    command = folder / "bin" / "gpt2"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gpt2cli "$@"\n')
    command.chmod(0o755)
    words = line.split(" ")
    script = f"""
        source {shlex.quote(str(COMPLETIONS / FILES["bash"]))}
        COMP_WORDS=({" ".join(map(shlex.quote, words))})
        COMP_CWORD={len(words) - 1}
        "$(complete -p gpt2 | sed 's/.*-F \\([^ ]*\\).*/\\1/')" gpt2
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=environment | {"PATH": f"{command.parent}:{environment['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("shell", FILES)
def test_a_completion_file_is_what_the_app_generates(gpt2: Gpt2, shell: str) -> None:
    generated = gpt2(env={"_GPT2_COMPLETE": f"source_{shell}"}).stdout.decode()
    assert (COMPLETIONS / FILES[shell]).read_text() == generated.strip() + "\n", "run make completions"


def test_zsh_finds_its_mark_on_the_first_line() -> None:
    assert (COMPLETIONS / FILES["zsh"]).read_text().startswith("#compdef gpt2\n")


@needs_bash
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("gpt2 gen", {"generate"}),
        pytest.param("gpt2 ", {"generate", "tokenize", "info"}, marks=pytest.mark.slow),
        pytest.param("gpt2 info --j", {"--json"}, marks=pytest.mark.slow),
        ("gpt2 generate --top", {"--top-k", "--top-p"}),
        pytest.param("gpt2 generate --dtype b", {"bfloat16"}, marks=pytest.mark.slow),
        ("gpt2 generate -m gpt2-", {model.name for model in KNOWN_MODELS if model.name.startswith("gpt2-")}),
        pytest.param("gpt2 generate --temperature 1 --model sto", {"stories"}, marks=pytest.mark.slow),
    ],
)
def test_bash_completes_commands_options_and_models(
    environment: dict[str, str], tmp_path: Path, line: str, offered: set[str]
) -> None:
    found = complete_in_bash(line, environment, tmp_path)
    assert offered <= set(found)
    assert all(name.startswith(line.split(" ")[-1]) for name in found)


@needs_bash
def test_bash_completes_the_names_of_downloaded_models(
    environment: dict[str, str], tmp_path: Path, cached_model: str
) -> None:
    assert complete_in_bash("gpt2 generate -m some", environment, tmp_path) == [cached_model]


def test_zsh_is_offered_models(gpt2: Gpt2, cached_model: str) -> None:
    variables = {"_GPT2_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "gpt2 generate -m some"}
    assert gpt2(env=variables).stdout.decode().strip() == f"_arguments '*: :((\"{cached_model}\"))'"


def test_fish_is_offered_models(gpt2: Gpt2, cached_model: str) -> None:
    variables = {
        "_GPT2_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_ARGS": "gpt2 generate -m some",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    assert gpt2(env=variables).stdout.decode().strip() == cached_model
