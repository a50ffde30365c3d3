"""Ids computed from a tokenizer.json, against tokenizers and tiktoken."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from bpe_oracles import TIKTOKEN
from gpt2_tokenizer import TOKENIZER
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, trainers

from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.text.byte_pairs import BYTE_OF_SYMBOL, BytePairs, open_byte_pairs

Library = tokenizers.Tokenizer
CORPUS = [
    "Once upon a time there was a fox, an old fox's den.\n",
    'She said, "\\no\\", and [left]: {1, 22}.',
] * 4
WORDS = ["the", " old", " man's", "\n\n", "  ", " 1234", '",', "\\", "<|endoftext|>", " harbour", "...", "\t"]
MERGES = '"merges"'
# Few letters, so that pairs repeat and merges meet; marks that JSON escapes or is written with.
DENSE = st.text("ab \"\\,:[]{}'s1\n", max_size=60)
ASCII = st.one_of(
    st.text(st.characters(max_codepoint=127), max_size=60),
    st.lists(st.sampled_from(WORDS), max_size=12).map("".join),
    DENSE,
)


def byte_level(model: models.BPE) -> Library:
    library = Library(model)
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return library


def train(corpus: list[str], size: int = 300, special: tuple[str, ...] = (END_OF_TEXT,)) -> Library:
    library = byte_level(models.BPE())
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(corpus, trainer)
    return library


def pretty(library: Library) -> str:
    return library.to_str(pretty=True)


def compact(library: Library) -> str:
    return library.to_str()


def of_old(library: Library) -> str:
    """Return the file as it was written before merges became pairs."""
    description = json.loads(library.to_str())
    description["model"]["merges"] = [" ".join(merge) for merge in description["model"]["merges"]]
    return json.dumps(description, ensure_ascii=False, separators=(",", ":"))


def read(folder: Path, content: str) -> BytePairs | None:
    path = folder / "tokenizer.json"
    path.write_text(content, encoding="utf-8")
    return open_byte_pairs(path)


def require(folder: Path, content: str) -> BytePairs:
    byte_pairs = read(folder, content)
    assert byte_pairs is not None
    return byte_pairs


def ids_of(library: Library, text: str) -> list[int]:
    library.encode_special_tokens = True
    return library.encode(text, add_special_tokens=False).ids


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("byte_pairs")


@cache
def gpt2_library() -> Library:
    return Library.from_str(TOKENIZER.to_json())


@pytest.fixture(scope="module", params=[pretty, compact, of_old])
def gpt2(request: pytest.FixtureRequest, folder: Path) -> BytePairs:
    layout: Callable[[Library], str] = request.param
    return require(folder, layout(gpt2_library()))


@pytest.mark.slow
@settings(max_examples=3 * settings().max_examples)
@given(ASCII)
def test_ids_of_ascii_text_are_those_of_tokenizers(gpt2: BytePairs, text: str) -> None:
    assert gpt2.encode(text, special=False) == ids_of(gpt2_library(), text)


@given(st.integers(0, 50255))
def test_every_id_of_gpt2_has_the_bytes_that_tiktoken_gives_it(gpt2: BytePairs, token_id: int) -> None:
    assert gpt2.token_bytes(token_id) == TIKTOKEN.decode_single_token_bytes(token_id)


@given(st.lists(DENSE, min_size=1), st.integers(257, 400), DENSE, st.sampled_from([pretty, compact, of_old]))
def test_ids_of_a_trained_tokenizer_are_those_of_tokenizers(
    folder: Path, corpus: list[str], size: int, text: str, layout: Callable[[Library], str]
) -> None:
    library = train([*corpus, "aa"], size)
    byte_pairs = require(folder, layout(library))
    assert byte_pairs.encode(text, special=False) == ids_of(library, text)
    spelled = [byte_pairs.token_bytes(token_id) for token_id in range(library.get_vocab_size())]
    assert spelled == [spell(library, token_id) for token_id in range(library.get_vocab_size())]


def spell(library: Library, token_id: int) -> bytes:
    token = library.id_to_token(token_id)
    assert token is not None
    return END_OF_TEXT.encode() if token == END_OF_TEXT else bytes(BYTE_OF_SYMBOL[symbol] for symbol in token)


@settings(max_examples=2 * settings().max_examples)
@given(st.lists(st.tuples(st.integers(0), st.integers(0)), min_size=1, max_size=40), st.randoms(), DENSE)
def test_merges_in_any_order_give_the_ids_of_tokenizers(
    folder: Path, choices: list[tuple[int, int]], random: Any, text: str
) -> None:
    vocabulary = {symbol: token_id for token_id, symbol in enumerate(BYTE_OF_SYMBOL)}
    tokens, merges = list("ab,\"\\'Ġ1"), []
    for left, right in choices:
        merge = tokens[left % len(tokens)], tokens[right % len(tokens)]
        made = "".join(merge)
        if merge not in merges and len(made) < 10:
            merges.append(merge)
            tokens.append(made)
            vocabulary.setdefault(made, len(vocabulary))
    random.shuffle(merges)
    library = byte_level(models.BPE(vocabulary, merges))
    assert require(folder, pretty(library)).encode(text, special=False) == ids_of(library, text)


def test_a_special_token_in_the_text_is_plain_or_left_to_the_library(folder: Path) -> None:
    library = train(CORPUS)
    byte_pairs = require(folder, pretty(library))
    text = f"an old {END_OF_TEXT} fox"
    assert byte_pairs.encode(text, special=False) == ids_of(library, text)
    assert byte_pairs.encode(text, special=True) is None
    assert byte_pairs.encode("an old fox", special=True) == ids_of(library, "an old fox")
    assert byte_pairs.token_bytes(0) == END_OF_TEXT.encode()


def test_a_token_of_the_users_own_is_left_to_the_library_where_it_is_in_the_text(folder: Path) -> None:
    library = train(CORPUS)
    library.add_tokens([AddedToken("fox")])
    byte_pairs = require(folder, pretty(library))
    assert byte_pairs.encode("an old fox", special=False) is None
    assert byte_pairs.encode("an old den", special=False) == ids_of(library, "an old den")
    # Its id is not in the vocabulary, but follows it.
    assert byte_pairs.token_bytes(300) == b"fox"


@pytest.mark.parametrize("text", ["naïve", "fox\u00a0", "👍", "\x80", "a" * 65, " " * 65])
def test_other_characters_and_long_words_are_left_to_the_library(folder: Path, text: str) -> None:
    assert require(folder, pretty(train(CORPUS))).encode(text, special=False) is None


@pytest.mark.parametrize("token_id", [-1, -50, 300, 2**70])
def test_ids_that_no_token_has_are_left_to_the_library(folder: Path, token_id: int) -> None:
    assert require(folder, pretty(train(CORPUS))).token_bytes(token_id) is None


@pytest.mark.parametrize(
    "content", ['"vocab": {', '"merges": [', '}, "merges": [', '"vocab": {}, "merges": []']
)
def test_tokens_that_look_like_the_file_itself_mislead_nobody(folder: Path, content: str) -> None:
    library = train(CORPUS * 4, 320, special=(content,))
    byte_pairs = require(folder, pretty(library))
    assert byte_pairs.encode("an old fox's den", special=False) == ids_of(library, "an old fox's den")
    assert byte_pairs.encode(content, special=False) == ids_of(library, content)


def with_normalizer(library: Library) -> None:
    library.normalizer = normalizers.Lowercase()


def with_prefix_space(library: Library) -> None:
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)


def without_pattern(library: Library) -> None:
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def with_another_splitter(library: Library) -> None:
    library.pre_tokenizer = pre_tokenizers.Whitespace()


def without_splitter(library: Library) -> None:
    library.pre_tokenizer = pre_tokenizers.Sequence([])


def with_many_added_tokens(library: Library) -> None:
    library.add_tokens([f"<{n}>" for n in range(100)])


def with_option(name: str, value: object) -> Callable[[Library], None]:
    def change(library: Library) -> None:
        setattr(library.model, name, value)

    change.__name__ = name
    return change


@pytest.mark.parametrize(
    "change",
    [
        *(with_normalizer, with_prefix_space, without_pattern, with_another_splitter, without_splitter),
        *(with_many_added_tokens, with_option("dropout", 0.5), with_option("ignore_merges", True)),
        *(with_option("byte_fallback", True), with_option("continuing_subword_prefix", "##")),
        with_option("end_of_word_suffix", "</w>"),
    ],
    ids=lambda change: change.__name__,
)
def test_a_tokenizer_with_rules_of_its_own_is_left_to_the_library(
    folder: Path, change: Callable[[Library], None]
) -> None:
    library = train(CORPUS)
    assert read(folder, pretty(library)) is not None
    change(library)
    assert read(folder, pretty(library)) is None


def without_a_byte(content: str) -> str:
    return content.replace('"Ā"', '"ĀĀ"')


def without_merges(content: str) -> str:
    return content.replace(MERGES, '"mergers"')


def with_merges_cut_off(content: str) -> str:
    return content[: content.index(MERGES) + 100]


def with_another_key_after_the_merges(content: str) -> str:
    return content[: content.rindex("]") + 1] + ', "dropout": 0.5}}'


@pytest.mark.parametrize(
    "change",
    [without_a_byte, without_merges, with_merges_cut_off, with_another_key_after_the_merges],
)
def test_a_file_that_is_not_as_expected_is_left_to_the_library(
    folder: Path, change: Callable[[str], str]
) -> None:
    assert read(folder, change(pretty(train(CORPUS)))) is None


@pytest.mark.parametrize("merges", ["[[1, 2]]", '[["a" "b"]]', "[[[]]]", "[null]"])
def test_merges_that_cannot_be_read_are_left_to_the_library(folder: Path, merges: str) -> None:
    content = pretty(gpt2_library())
    byte_pairs = require(folder, f"{content[: content.index(MERGES)]}{MERGES}: {merges}}}}}")
    assert byte_pairs.encode("fox", special=False) is None
    assert byte_pairs.token_bytes(50_000) is None


def test_a_file_that_is_not_there_is_left_to_the_library(folder: Path) -> None:
    assert open_byte_pairs(folder / "missing.json") is None
