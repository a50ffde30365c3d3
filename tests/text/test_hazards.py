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


@pytest.mark.parametrize("before", [True, False])
def test_a_template_that_adds_tokens_without_limit_is_refused(folder: Path, before: bool) -> None:
    end, text = {"SpecialToken": {"id": "x", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    token = {"id": "x", "ids": [0] * 1000, "tokens": ["<|endoftext|>"] * 1000}
    single = [*[end] * 1000, text] if before else [text, *[end] * 1000]
    template = {"type": "TemplateProcessing", "single": single, "pair": [text]}
    change(folder, lambda it: it.update(post_processor=template | {"special_tokens": {"x": token}}))

    def read() -> object:
        tokenizer = open_tokenizer(str(folder))
        return tokenizer.leading_ids if before else tokenizer.to_json()

    with pytest.raises(CheckpointError, match="adds 1,000,000 special tokens to a text, more than 1,024"):
        read()


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


def put_first(description: Description, entry: str, token_id: int) -> None:
    vocabulary = description["model"]["vocab"]
    description["model"]["vocab"] = {entry: token_id, **vocabulary}


# It would allocate gigabytes, which without room for them ends the process.
ABORTS: dict[str, tuple[Callable[[Description], object], str]] = {
    "an id": (lambda it: put_first(it, "qq", (1 << 31) - 1), "has the id 2147483647, and ids must be below"),
    "an id of an added token": (
        lambda it: it["added_tokens"][0].update(id=1 << 24),
        "has the id 16777216, and ids must be below 16,777,216",
    ),
    "a table of characters": (
        lambda it: it.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "////fwAA"}),
        "precompiled_charsmap is cut off",
    ),
}


@pytest.mark.parametrize("name", ABORTS)
def test_what_ends_the_process_for_want_of_memory_is_refused(folder: Path, name: str) -> None:
    changed, message = ABORTS[name]
    change(folder, changed)
    with pytest.raises(CheckpointError, match=message):
        open_tokenizer(str(folder)).to_json()


def test_huge_ids_beside_the_vocabulary_are_refused(folder: Path) -> None:
    (folder / "added_tokens.json").write_text(json.dumps({"<new>": 1 << 31}))
    with pytest.raises(CheckpointError, match="has the id 2147483648"):
        open_tokenizer(str(folder)).to_json()
    description = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "added_tokens.json").unlink()
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps({"qq": 1 << 31} | description["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(CheckpointError, match="has the id 2147483648"):
        open_tokenizer(str(folder)).to_json()


PADDING = {"strategy": {"Fixed": 1 << 20}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
TRUNCATION = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 5}


def test_what_pads_and_truncates_in_training_is_not_done(folder: Path) -> None:
    expected = open_tokenizer(str(folder)).encode(TEXT)
    asked = {"padding": PADDING | {"pad_type_id": 0, "pad_token": "x"}, "truncation": TRUNCATION}
    change(folder, lambda it: it.update(asked))
    assert open_tokenizer(str(folder)).encode(TEXT) == expected
    assert json.loads(open_tokenizer(str(folder)).to_json())["padding"] is None


def test_a_pattern_that_goes_back_without_end_is_an_error_of_the_text(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pattern = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
    bytes_only = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    steps = {"type": "Sequence", "pretokenizers": [pattern, bytes_only]}
    change(folder, lambda it: it.update(pre_tokenizer=steps))
    tokenizer = open_tokenizer(str(folder))
    tokenizer.encode(TEXT)
    with pytest.raises(CheckpointError, match=r"cannot encode this text: Onig: .*retry-limit-in-match over"):
        tokenizer.encode("x" * 60)
    assert capfd.readouterr().err == ""


def test_an_odd_value_beside_the_vocabulary_is_shown_in_part(folder: Path) -> None:
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": {"x" * 5000: 1}}))
    with pytest.raises(CheckpointError, match="where a token must be") as caught:
        open_tokenizer(str(folder))
    assert len(str(caught.value)) < 200
