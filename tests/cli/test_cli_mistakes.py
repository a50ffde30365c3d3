"""Natural mistakes on the command line get a helpful answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Gpt2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "way_on"),
    [
        (["chat"], "gpt2 generate"),
        (["list"], "gpt2 models list"),
        (["pull", "gpt2"], "gpt2 download MODEL"),
        (["run"], "gpt2 generate"),
        (["version"], "gpt2 --version"),
        (["export"], "gpt2 models show"),
        (["generat", "x"], "Did you mean gpt2 generate?"),
        (["Hello world", "-n", "3"], "gpt2 generate 'Hello world' -n 3"),
        (["nonsense"], "Commands: generate, next, score, "),
        (["help", "nonsense"], "Commands: generate, next, score, "),
        (["generate", "Once", "upon", "a", "time"], "gpt2 generate 'Once upon a time'"),
        (["next", "The", "cat"], "gpt2 next 'The cat'"),
        (["generate", "--num", "3", "x"], "Did you mean --num-samples?"),
        (["generate", "--temprature", "1", "x"], "Did you mean --temperature?"),
        (["score", "--nonsense"], "There is no option --nonsense. See gpt2 score --help."),
        (["generate", "--temp", "hot", "x"], "'hot' is not a valid float"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_with_a_way_on(gpt2: Gpt2, arguments: list[str], way_on: str) -> None:
    result = gpt2(*arguments)
    message = result.stderr.decode()
    assert (result.returncode, result.stdout) == (2, b"")
    assert message.startswith("Error: ")
    assert message.count("\n") == 1
    assert way_on in message
    assert "?. " not in message


def test_a_file_as_a_command_is_offered_as_a_prompt(gpt2: Gpt2, tmp_path: Path) -> None:
    file = tmp_path / "story.txt"
    file.write_text("Once upon a time")
    assert f"gpt2 generate -f {file}" in gpt2(file).stderr.decode()


def test_a_prompt_that_is_also_a_file_is_continued_with_a_note(gpt2: Gpt2, tmp_path: Path) -> None:
    file = tmp_path / "story.txt"
    file.write_text("Once upon a time")
    result = gpt2("generate", file, "-n", "1", "-m", "stories")
    assert result.returncode == 0
    assert result.stderr.decode() == f"note: {file} is also a file; -f {file} reads the prompt from it\n"


@pytest.mark.slow
@pytest.mark.parametrize("words", [["generate"], ["models", "list"], []], ids=" ".join)
def test_help_is_also_a_command(gpt2: Gpt2, words: list[str]) -> None:
    assert gpt2("help", *words).stdout == gpt2(*words, "--help").stdout
