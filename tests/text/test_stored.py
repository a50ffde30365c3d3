"""What the files beside a vocabulary say of its tokenizer, against transformers."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from bpe_oracles import TEXTS
from hypothesis import given
from transformers import AutoTokenizer

import gpt2cli.text.loading
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.errors import CheckpointError
from gpt2cli.hub.checkpoint_files import tokenizer_in
from gpt2cli.hub.model_files import ModelFiles
from gpt2cli.hub.model_source import BUNDLED_FOLDER
from gpt2cli.text.loading import load_tokenizer
from gpt2cli.text.stored.library import bundled_library
from gpt2cli.text.stored.saving import tokenizer_files
from gpt2cli.text.tokenizer import Tokenizer
from gpt2cli.training.plan.request import Request

pytestmark = pytest.mark.slow

SIZE = 4096
ADDED = {"<pad>": SIZE, "<|user|>": SIZE + 1}
FLAGS = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
DECODER = {
    str(token_id): {"content": content, "special": True, **FLAGS} for content, token_id in ADDED.items()
}
PIECES = [
    "<|user|>",
    "<pad>",
    END_OF_TEXT,
    "</s>",
    "<s>",
    " ",
    "\n",
    "Hi",
    "the old king",
    "naïve 👍",
    "1 2",
    ",",
    " it's",
]
FORMS = ["tokenizer.json", "vocab.json"]

# What stands in the files beside the vocabulary, by the names of the files.
CHECKPOINTS: dict[str, dict[str, Any]] = {
    "added": {"added_tokens": ADDED},
    "added and mapped": {"added_tokens": ADDED, "special_tokens_map": {"pad_token": "<pad>"}},
    "mapped as objects": {
        "added_tokens": ADDED,
        "special_tokens_map": {"pad_token": {"content": "<pad>", **FLAGS, "lstrip": True}},
    },
    "extra": {"added_tokens": ADDED, "special_tokens_map": {"extra_special_tokens": ["<|user|>"]}},
    "decoder": {"tokenizer_config": {"added_tokens_decoder": DECODER, "pad_token": "<pad>"}},
    "decoder and map": {
        "tokenizer_config": {"added_tokens_decoder": DECODER, "pad_token": "<pad>"},
        "special_tokens_map": {"pad_token": "<s>"},
    },
    "additional": {
        "tokenizer_config": {
            "added_tokens_decoder": DECODER,
            "additional_special_tokens": ["<|user|>", "<s>"],
        }
    },
    "named without ids": {
        "tokenizer_config": {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    },
    "named in the map": {"special_tokens_map": {"pad_token": "<pad>", "bos_token": "<s>"}},
    "a word": {"tokenizer_config": {"eos_token": "the"}},
    "prefix space": {"tokenizer_config": {"add_prefix_space": True}},
    "prefix space and added": {"tokenizer_config": {"add_prefix_space": True}, "added_tokens": ADDED},
    "ends": {"tokenizer_config": {"add_bos_token": True, "add_eos_token": True}},
    "ends of its own": {
        "tokenizer_config": {
            "bos_token": "<s>",
            "eos_token": "</s>",
            "add_bos_token": True,
            "add_eos_token": True,
        }
    },
    "fast": {
        "tokenizer_config": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "add_prefix_space": True,
        }
    },
}


def save(folder: Path, form: str = "tokenizer.json", **files: Any) -> Path:
    """Write a checkpoint without weights, with the bundled model's vocabulary in one of its forms."""
    shutil.copy(BUNDLED_FOLDER / "config.json", folder)
    shutil.copy(BUNDLED_FOLDER / "tokenizer.json", folder)
    if form != "tokenizer.json":
        tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).model.save(str(folder))
        (folder / "tokenizer.json").unlink()
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def load(folder: Path, vocab_size: int = SIZE + 8, **config: Any) -> Tokenizer:
    values = {"bos_token_id": 0, "eos_token_id": 0, "vocab_size": vocab_size, **config}
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", **values}))
    files = ModelFiles("tiny", None, folder / "config.json", (), tokenizer_in(folder))
    return load_tokenizer(files, ModelConfig.from_json(files.config))


def edit_tokenizer(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "tokenizer.json"
    description = json.loads(path.read_text())
    edit(description)
    path.write_text(json.dumps(description, ensure_ascii=False))


def random_texts() -> list[str]:
    chance = random.Random(0)
    texts = ["", "Hi", " Hi", "\nHi", *("".join(chance.choices(PIECES, k=12)) for _ in range(60))]
    return [*texts, "the old king's men " * 600]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_ids_are_those_of_transformers(tmp_path: Path, name: str, form: str) -> None:
    if (name, form) == ("fast", "vocab.json"):
        pytest.skip("transformers does not open it")
    folder = save(tmp_path, form, **CHECKPOINTS[name])
    tokenizer, theirs = load(folder), AutoTokenizer.from_pretrained(folder)
    for text in random_texts():
        ids = tokenizer.encode(text, special=True)
        assert ids == theirs(text, add_special_tokens=False).input_ids, text
        whole = theirs(text).input_ids
        leading = list(tokenizer.leading_ids)
        assert whole[: len(leading) + len(ids)] == [*leading, *ids]
        assert len(whole) - len(leading) - len(ids) == len(leading)
        if not tokenizer.adds_space:
            assert tokenizer.decode(ids).decode() == text
    assert [tokenizer.token_bytes(token_id).decode() for token_id in theirs.added_tokens_decoder] == [
        token.content for token in theirs.added_tokens_decoder.values()
    ]
    if "bos_token" in CHECKPOINTS[name].get("tokenizer_config", {}):
        assert (tokenizer.bos_id, tokenizer.eos_id) == (theirs.bos_token_id, theirs.eos_token_id)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Any]:
    folder = save(tmp_path_factory.mktemp("any"), "vocab.json", **CHECKPOINTS["added and mapped"])
    return load(folder), AutoTokenizer.from_pretrained(folder)


@given(TEXTS)
def test_ids_of_any_text_are_those_of_transformers(opened: tuple[Tokenizer, Any], text: str) -> None:
    tokenizer, theirs = opened
    assert tokenizer.encode(text, special=True) == theirs(text).input_ids


@pytest.mark.parametrize("form", FORMS)
def test_special_tokens_are_plain_text_unless_asked_for(tmp_path: Path, form: str) -> None:
    tokenizer = load(save(tmp_path, form, tokenizer_config={"added_tokens_decoder": DECODER}))
    assert tokenizer.encode("<|user|>Hi", special=True)[0] == SIZE + 1
    plain = tokenizer.encode("<|user|>Hi")
    assert max(plain) < SIZE
    assert tokenizer.decode(plain) == b"<|user|>Hi"
    assert tokenizer.token_bytes(SIZE + 1) == b"<|user|>"


@pytest.mark.parametrize("form", FORMS)
def test_added_tokens_keep_ids_with_gaps_between_them(tmp_path: Path, form: str) -> None:
    tokenizer = load(save(tmp_path, form, added_tokens={"<x>": SIZE + 4, "<y>": SIZE + 2}))
    assert tokenizer.encode("<x><y>", special=True) == [SIZE + 4, SIZE + 2]
    assert tokenizer.decode([SIZE + 4, SIZE + 2]) == b"<x><y>"


@pytest.mark.parametrize("form", FORMS)
def test_a_special_token_without_an_id_gets_none_that_the_model_lacks(tmp_path: Path, form: str) -> None:
    folder = save(tmp_path, form, tokenizer_config={"pad_token": "<pad>", "eos_token": "</s>"})
    tokenizer = load(folder, vocab_size=SIZE)
    assert tokenizer.eos_id == 0
    assert load(folder, vocab_size=SIZE, eos_token_id=50_256).eos_id == 0
    assert max(tokenizer.encode("<pad></s>", special=True)) < SIZE
    assert load(folder, vocab_size=SIZE + 1).find_id("</s>") == SIZE


@pytest.mark.parametrize("told", [True, False])
def test_the_settings_decide_on_the_prefix_space_and_not_tokenizer_json(tmp_path: Path, told: bool) -> None:
    folder = save(tmp_path, tokenizer_config={"add_prefix_space": told})
    edit_tokenizer(folder, lambda values: values["pre_tokenizer"].update(add_prefix_space=not told))
    tokenizer, theirs = load(folder), AutoTokenizer.from_pretrained(folder)
    assert tokenizer.adds_space == told
    assert tokenizer.encode("Hi there") == theirs("Hi there").input_ids


def test_a_text_that_continues_another_gets_no_space(tmp_path: Path) -> None:
    tokenizer = load(save(tmp_path, tokenizer_config={"add_prefix_space": True}))
    for _ in range(2):
        assert tokenizer.decode(tokenizer.encode("Hi")) == b" Hi"
        assert tokenizer.decode(tokenizer.encode("Hi", continues=True)) == b"Hi"


def bos_template(values: dict[str, Any]) -> None:
    token = {"id": END_OF_TEXT, "ids": [0], "tokens": [END_OF_TEXT]}
    parts = [{"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    values["post_processor"] = {
        "type": "TemplateProcessing",
        "single": parts,
        "pair": parts,
        "special_tokens": {END_OF_TEXT: token},
    }


def add_after(values: dict[str, Any]) -> None:
    for content, token_id in ADDED.items():
        values["added_tokens"].append({"id": token_id, "content": content, "special": True, **FLAGS})


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the test fail if the library reads a tokenizer."""

    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(gpt2cli.text.loading, "read_library", fail)


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize("add_bos", [True, False])
def test_a_short_prompt_needs_no_library_for_what_tokenizer_json_says(tmp_path: Path, add_bos: bool) -> None:
    roles = {"bos_token": END_OF_TEXT, "eos_token": "<|user|>", "pad_token": "<pad>"}
    folder = save(
        tmp_path,
        tokenizer_config={**roles, "added_tokens_decoder": DECODER},
        added_tokens=ADDED,
        special_tokens_map=roles,
    )
    edit_tokenizer(folder, add_after)
    if add_bos:
        edit_tokenizer(folder, bos_template)
    tokenizer = load(folder, eos_token_id=SIZE + 1)
    theirs = AutoTokenizer.from_pretrained(folder)
    assert [*tokenizer.leading_ids, *tokenizer.encode("Once upon a time")] == theirs(
        "Once upon a time"
    ).input_ids
    assert len(tokenizer.leading_ids) == add_bos
    assert (tokenizer.bos_id, tokenizer.eos_id) == (theirs.bos_token_id, theirs.eos_token_id)
    assert (tokenizer.end_ids, tokenizer.notes) == ((SIZE + 1,), ())
    assert tokenizer.token_bytes(SIZE + 1) == b"<|user|>"
    assert not tokenizer.adds_space


@pytest.mark.parametrize("form", FORMS)
def test_the_tokenizers_eos_holds_where_config_json_names_a_word(tmp_path: Path, form: str) -> None:
    folder = save(tmp_path, form, tokenizer_config={"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT})
    word = load(folder).encode(" the")[0]
    tokenizer = load(folder, bos_token_id=word, eos_token_id=word)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.end_ids) == (0, 0, (0,))
    (note,) = tokenizer.notes
    assert f"bos_token_id and eos_token_id {word} (' the') in config.json" in note
    assert END_OF_TEXT in note
    assert load(folder).notes == ()


@pytest.mark.parametrize("form", FORMS)
def test_another_special_token_that_config_json_names_ends_texts_too(tmp_path: Path, form: str) -> None:
    folder = save(tmp_path, form, added_tokens=ADDED, tokenizer_config={"eos_token": END_OF_TEXT})
    tokenizer = load(folder, eos_token_id=SIZE + 1)
    assert (tokenizer.eos_id, tokenizer.end_ids) == (0, (0, SIZE + 1))
    assert len(tokenizer.notes) == 1


def test_a_list_in_config_json_is_meant_even_where_it_names_a_word(tmp_path: Path) -> None:
    folder = save(tmp_path, tokenizer_config={"eos_token": END_OF_TEXT})
    newline = load(folder).encode("\n")[0]
    tokenizer = load(folder, eos_token_id=[newline, 0, 99_999])
    assert (tokenizer.eos_id, tokenizer.end_ids, tokenizer.notes) == (0, (0, newline), ())


def test_the_id_that_transformers_puts_into_every_config_is_no_choice(tmp_path: Path) -> None:
    library = bundled_library()
    ids = {END_OF_TEXT: 0} | {
        token: token_id + 1 for token, token_id in library.get_vocab(with_added_tokens=False).items()
    }
    description = json.loads(library.to_str())
    description["model"]["vocab"] = dict(sorted(ids.items(), key=lambda entry: entry[1]))
    description["added_tokens"][0]["id"] = 0
    (tmp_path / "tokenizer.json").write_text(json.dumps(description))
    tokenizer = load(tmp_path, vocab_size=50_257, bos_token_id=50_256, eos_token_id=50_256)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.end_ids) == (0, 0, (0,))
    assert len(tokenizer.notes) == 1
    assert load(tmp_path, vocab_size=50_257, eos_token_id=50_255).eos_id == 50_255


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"added_tokens": {"<x>": "many"}}, r"added_tokens\.json has 'many' where a token id must be"),
        ({"added_tokens": {"<x>": math.inf}}, r"added_tokens\.json has inf where a token id must be"),
        ({"added_tokens": [1]}, "is not a JSON object"),
        (
            {"tokenizer_config": {"added_tokens_decoder": {"x": {"content": "<x>"}}}},
            "has 'x' where a token id",
        ),
        ({"tokenizer_config": {"added_tokens_decoder": {"1": 7}}}, "has 7 where a token must be"),
        ({"tokenizer_config": {"eos_token": 5}}, r"tokenizer_config\.json has 5 where a token must be"),
        ({"special_tokens_map": {"eos_token": ["a"]}}, r"special_tokens_map\.json has \['a'\] where a token"),
    ],
    ids=str,
)
def test_damaged_files_are_named(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(save(tmp_path, **files))


def saved_again(folder: Path, tokenizer: Tokenizer, vocab_size: int) -> Path:
    child = folder / "child"
    child.mkdir()
    shutil.copy(folder / "config.json", child)
    config = ModelConfig(vocab_size=vocab_size, bos_token_id=tokenizer.bos_id, eos_token_id=tokenizer.eos_id)
    for name, text in tokenizer_files(tokenizer, config).items():
        (child / name).write_text(text)
    return child


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_tokenizer_that_is_saved_again_is_the_same_to_transformers(
    tmp_path: Path, name: str, form: str
) -> None:
    if (name, form) == ("fast", "vocab.json"):
        pytest.skip("transformers does not open it")
    folder = save(tmp_path, form, **CHECKPOINTS[name])
    before = AutoTokenizer.from_pretrained(folder)
    size = len(before)
    child = saved_again(folder, load(folder, vocab_size=size), size)
    after = AutoTokenizer.from_pretrained(child)
    assert len(after) == size
    for role in ("bos_token", "eos_token", "pad_token", "unk_token"):
        assert getattr(after, role) == getattr(before, role)
        assert getattr(after, f"{role}_id") == getattr(before, f"{role}_id")
    again = load(child, vocab_size=size)
    for text in random_texts()[:30]:
        assert after(text).input_ids == before(text).input_ids, text
        assert again.encode(text, special=True) == after(text, add_special_tokens=False).input_ids


def test_a_vocabulary_without_end_of_text_gets_no_token_that_the_model_lacks(tmp_path: Path) -> None:
    folder = save(tmp_path)

    def rename(values: dict[str, Any]) -> None:
        values["added_tokens"] = []
        values["model"]["vocab"] = {
            "</s>" if token == END_OF_TEXT else token: token_id
            for token, token_id in values["model"]["vocab"].items()
        }

    edit_tokenizer(folder, rename)
    tokenizer = load(folder, vocab_size=SIZE)
    assert (tokenizer.bos_id, tokenizer.eos_id) == (0, 0)
    after = AutoTokenizer.from_pretrained(saved_again(folder, tokenizer, SIZE))
    assert (len(after), after.bos_token_id, after.eos_token, after.unk_token) == (SIZE, 0, "</s>", None)


def test_a_token_that_the_model_lacks_is_not_saved(tmp_path: Path) -> None:
    folder = save(tmp_path, added_tokens=ADDED, tokenizer_config={"pad_token": "<pad>"})
    after = AutoTokenizer.from_pretrained(saved_again(folder, load(folder, vocab_size=SIZE), SIZE))
    assert (len(after), after.pad_token) == (SIZE, None)


def test_a_new_model_that_takes_a_tokenizer_begins_its_texts_with_eos(tmp_path: Path) -> None:
    roles = {"bos_token": "<s>", "eos_token": "</s>"}
    folder = save(tmp_path, tokenizer_config=roles, added_tokens={"<s>": SIZE, "</s>": SIZE + 1})
    tokenizer = load(folder)
    config = Request(size="1M").new_config(tokenizer, 1000)
    child = tmp_path / "child"
    child.mkdir()
    for name, text in tokenizer_files(tokenizer, config).items():
        (child / name).write_text(text)
    again = load(child, bos_token_id=SIZE + 1, eos_token_id=SIZE + 1)
    assert (again.bos_id, again.eos_id, again.notes) == (SIZE + 1, SIZE + 1, ())
    assert AutoTokenizer.from_pretrained(child).bos_token == "</s>"
