"""Tokenizer files that would make the library panic, choose at random, or grow texts without limit."""

from __future__ import annotations

import json
import shutil
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoints import save_model_folder
from conftest import Gpt2

from gpt2cli.errors import CheckpointError
from gpt2cli.text.opening import open_tokenizer

Description = dict[str, Any]

TEXT = "the quick brown tokenizer of them, é"
TENFOLD = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
BETWEEN = {"type": "Replace", "pattern": {"Regex": ""}, "content": "b" * 30}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hazards")
    save_model_folder(folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "model")


def change(folder: Path, changed: Callable[[Description], object]) -> None:
    path = folder / "tokenizer.json"
    description = json.loads(path.read_text())
    changed(description)
    path.write_text(json.dumps(description))


def test_dropout_of_training_changes_no_ids(folder: Path) -> None:
    expected = open_tokenizer(str(folder)).encode(TEXT)
    change(folder, lambda description: description["model"].update(dropout=0.5))
    tokenizer = open_tokenizer(str(folder))
    assert {tuple(tokenizer.encode(TEXT)) for _ in range(20)} == {tuple(expected)}
    encoder = tokenizer.open_fast_encoder(lambda text: array("I", tokenizer.encode(text)))
    assert encoder is None or list(encoder.encode(TEXT)) == expected


PANICS: dict[str, Callable[[Description], object]] = {
    "a merge of a special token": lambda it: it["model"]["merges"].append(["<|endoftext|>", "a"]),
    "a prefix that tokens lack": lambda it: it["model"].update(continuing_subword_prefix="##"),
    # Here the library ends the process.
    "a prefix of one letter": lambda it: it["model"].update(continuing_subword_prefix="\n"),
    "a merge without a token": lambda it: it["model"]["merges"].append(["zz", "qq"]),
    "a merge of three": lambda it: it["model"]["merges"].append("a b c"),
    "an id beyond": lambda it: it["model"]["vocab"].update(P=1 << 32),
}


@pytest.mark.parametrize("name", PANICS)
@pytest.mark.slow
def test_what_makes_the_library_panic_is_one_line(gpt2: Gpt2, folder: Path, name: str) -> None:
    change(folder, PANICS[name])
    result = gpt2("tokenize", "--text", TEXT, "-m", folder, env={"RUST_BACKTRACE": "1"})
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.startswith(b"Error: The tokenizer files in ")
    assert result.stderr.count(b"\n") == 1
    assert b"bug" not in result.stderr


def test_a_prefix_behind_escapes_is_seen(folder: Path) -> None:
    change(folder, PANICS["a prefix of one letter"])
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("continuing_subword", "continuing\\u005fsubword"))
    with pytest.raises(CheckpointError, match="do not join tokens with the prefix"):
        open_tokenizer(str(folder)).encode(TEXT)


@pytest.mark.parametrize("part", ["normalizer", "decoder"])
@pytest.mark.parametrize("steps", [[TENFOLD] * 9, [BETWEEN], [TENFOLD, TENFOLD]], ids=["nine", "any", "two"])
def test_replacements_that_grow_texts_without_limit_are_refused(
    folder: Path, part: str, steps: list[Description]
) -> None:
    key = f"{part}s"
    change(folder, lambda description: description.update({part: {"type": "Sequence", key: steps}}))
    with pytest.raises(CheckpointError, match="make a text more than 16 times as long"):
        open_tokenizer(str(folder)).encode(TEXT)


def test_replacements_that_real_tokenizers_have_are_not_what_is_refused(folder: Path) -> None:
    usual = [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        {"type": "Replace", "pattern": {"String": "``"}, "content": '"'},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
    ]
    change(folder, lambda it: it.update(normalizer={"type": "Sequence", "normalizers": usual}))
    with pytest.raises(CheckpointError, match="does not work on bytes like GPT-2's"):
        open_tokenizer(str(folder))


@pytest.mark.parametrize("key", ["merges", "vocab"])
def test_a_vocabulary_that_the_fast_library_does_not_take_is_left_to_the_other(
    folder: Path, key: str
) -> None:
    def lose(description: Description) -> None:
        if key == "merges":
            description["model"]["merges"].pop()
        else:
            description["model"]["vocab"]["Ã"] = description["model"]["vocab"]["a"]

    change(folder, lose)
    open_tokenizer(str(folder)).open_fast_encoder(lambda text: array("I"))
