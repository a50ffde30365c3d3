"""Natural mistakes on the command line get a helpful answer."""

from __future__ import annotations

import shlex
import subprocess
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
        (["convert"], "gpt2 export MODEL -o FILE.gguf"),
        (["quantize"], "gpt2 export MODEL -o FILE.gguf --type q8_0"),
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


TEXTS = [
    "- item one",
    "-5 degrees",
    "--- title",
    "--title of it",
    "-no, he said",
    "-model trains",
    "-9",
    "-'tis",
    "---",
]


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_begins_with_a_dash_gets_the_hint_to_put_it_last(
    gpt2: Gpt2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    # With a model that is missing, to see that nothing was read or written.
    refused = gpt2("generate", text, "-m", tmp_path)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert refused.stderr.decode() == (
        f"Error: {text!r} looks like an option. "
        f"Put such a text last, after --: gpt2 generate -- {shlex.quote(text)}\n"
    )
    done = gpt2("generate", "-m", "stories", "-n", "1", "--echo", "-q", "--", text)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(text.encode())
    assert list(tmp_path.glob("*said*")) == []


@pytest.mark.slow
def test_the_hint_for_a_dash_is_one_line_in_every_command(gpt2: Gpt2) -> None:
    for name in ("generate", "next", "score", "rank", "tokenize"):
        message = gpt2(name, "- one\n- two").stderr.decode()
        assert message == (
            "Error: A text that begins '- one\\n- two' looks like an option. "
            f"Put such a text last, after --: gpt2 {name} -- TEXT\n"
        )
    assert "gpt2 generate -- '- item'" in gpt2("- item").stderr.decode()


def test_a_value_may_begin_with_a_dash(gpt2: Gpt2) -> None:
    values = [
        "--stop",
        "- x",
        "--presence-penalty",
        "-0.5",
        "--bias",
        "- x=-3",
        "--ban=- y",
        "-qn",
        "1",
        "-s2",
    ]
    done = gpt2("generate", "Once", "-m", "stories", *values)
    assert (done.returncode, done.stderr) == (0, b"")
    assert gpt2("tokenize", "--text", "- item one", "--count").stdout == b"3\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["generate", "x", "-m", "stories", "--model", "gpt2"], "-m or --model"),
        (["generate", "x", "-m", "stories", "-mstories"], "-m or --model"),
        (["generate", "-f", "a", "--file=b"], "-f or --file"),
        (["next", "x", "-o", "a", "-o", "b"], "-o or --output"),
        (["next", "-m", "a", "-m", "b"], "-m or --model"),
        (["score", "--text", "a", "--text", "b"], "--text"),
        (["score", "--pairs", "a", "--pairs", "b"], "--pairs"),
        (["rank", "-m", "a", "-m", "b"], "-m or --model"),
        (["tokenize", "-m", "a", "-m", "b"], "-m or --model"),
        (["bench", "-m", "a", "-m", "b"], "-m or --model"),
        (["train", "a", "-o", "b", "-o", "c"], "-o or --output"),
        (["train", "a", "-o", "b", "--from", "c", "--from", "d"], "--from"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_option_that_names_a_text_a_model_or_a_file_is_given_once(
    gpt2: Gpt2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = gpt2(*words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"Error: {name} was given 2 times. Give it once.\n"
    assert list(tmp_path.glob("[abc]")) == []


def test_the_last_of_other_options_counts_so_that_an_alias_can_have_defaults(gpt2: Gpt2) -> None:
    words = ["generate", "-n", "9", "--seed", "1", "Once", "-m", "stories", "-q"]
    assert (
        gpt2(*words, "-n", "2", "-s", "3").stdout
        == gpt2("generate", "Once", "-n2", "-s3", "-qm", "stories").stdout
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "note"),
    [
        (r"\n", r"note: \n in --stop '\n' is a backslash and a letter; for a newline, type $'\n'"),
        (r"\t", r"note: \t in --stop '\t' is a backslash and a letter; for a tab, type $'\t'"),
        (r"\nQ:", r"note: \n in --stop '\nQ:' is a backslash and a letter; for a newline, type $'\nQ:'"),
        (
            r"\x1b",
            r"note: \x1b in --stop '\x1b' is a backslash and a letter; for the character, type $'\x1b'",
        ),
    ],
)
def test_an_escape_that_the_shell_left_alone_gets_a_note(gpt2: Gpt2, typed: str, note: str) -> None:
    words = ["generate", "Once", "-m", "stories", "-n", "1", "--seed", "1"]
    noted = gpt2(*words, "--stop", typed)
    assert (noted.returncode, noted.stderr.decode()) == (0, note + "\n")
    assert gpt2(*words, "--stop", typed, "-q").stderr == b""
    meant = subprocess.run(
        ["bash", "-c", f"printf %s {note.rpartition(' ')[2]}"], capture_output=True, check=True
    )
    assert meant.stdout.decode() == typed.encode().decode("unicode_escape")
    assert gpt2(*words, "--stop", meant.stdout.decode()).stderr == b""
    assert b"in --ban" in gpt2(*words, "--ban", typed).stderr
    assert b"in --bias" in gpt2(*words, "--bias", f"{typed}=1").stderr


@pytest.mark.slow
def test_a_text_that_was_cut_by_another_models_count_names_the_ways_out(gpt2: Gpt2, tmp_path: Path) -> None:
    text = tmp_path / "long.txt"
    text.write_text("An unforeseeable refrigerator hummed. " * 200)
    cut = gpt2("tokenize", text, "--truncate", "510").stdout
    decoded = gpt2("tokenize", "--decode", stdin=cut).stdout
    refused = gpt2("generate", "-m", "stories", stdin=decoded)
    assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1)
    for way in (b"--truncate to left", b"gpt2 tokenize", b"--model"):
        assert way in refused.stderr
    assert gpt2("generate", "-m", "stories", "--truncate", "left", "-n", "1", stdin=decoded).returncode == 0
    cut = gpt2("tokenize", "-m", "stories", text, "--truncate", "510").stdout
    decoded = gpt2("tokenize", "-m", "stories", "--decode", stdin=cut).stdout
    assert gpt2("generate", "-m", "stories", "-n", "1", stdin=decoded).returncode == 0


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
