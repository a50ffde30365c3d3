"""The fast library's ids, against tiktoken and tokenizers."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import sysconfig
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from bpe_oracles import FRAGMENTS, TEXTS, TIKTOKEN
from disputed_code_points import (
    CODE_POINTS,
    as_ranges,
    disputed_code_points,
    encode_with_gigatoken,
    encode_with_tiktoken,
)
from gpt2_tokenizer import TOKENIZER
from hypothesis import given
from tokenizers import models, pre_tokenizers, trainers

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.text.fast_encoder import DISPUTED_CODE_POINTS, FastEncoder
from gpt2cli.text.streaming.text_blocks import cut_blocks
from gpt2cli.text.tokenizer import Tokenizer

# 64 reads 64 MB of source code, 50 a million strings.
SCALE = int(os.environ.get("GPT2CLI_TEST_SCALE", "1"))
SOURCE_BYTES = 1_000_000 * SCALE
STRINGS = 20_000 * SCALE
BLOCK_BYTES = 1 << 16

RANGES = [[int(end, 16) for end in line.split("-")] for line in DISPUTED_CODE_POINTS.read_text().split()]
DISPUTED = [code for first, last in RANGES for code in range(first, last + 1)]
STORIES = Path(__file__).parents[2] / "gpt2cli" / "data" / "stories" / "tokenizer.json"


@pytest.fixture(scope="module")
def fast() -> FastEncoder:
    return open_fast(TOKENIZER)


def open_fast(tokenizer: Tokenizer, special: bool = False) -> FastEncoder:
    encoder = find_fast(tokenizer, special)
    assert encoder is not None
    return encoder


def find_fast(tokenizer: Tokenizer, special: bool = False) -> FastEncoder | None:
    return tokenizer.open_fast_encoder(lambda text: array("I", tokenizer.encode(text, special)), special)


def encode(fast: FastEncoder, text: str) -> list[int]:
    return fast.encode(text).tolist()


def blocks_of_source_code() -> Iterator[str]:
    """Yield this Python's library and packages, as text of some 64 KB each."""
    folders = (Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib"))
    read = 0
    for path in (path for folder in folders for path in sorted(folder.rglob("*.py"))):
        data = path.read_bytes()
        if read > SOURCE_BYTES:
            return
        try:
            data.decode()
        except UnicodeDecodeError:
            continue
        read += len(data)
        for start in range(0, len(data), BLOCK_BYTES):
            yield data[start : start + BLOCK_BYTES].decode(errors="ignore")


def adversarial_strings() -> Iterator[str]:
    draw = random.Random(0)
    signs = [*"aAéß1٣²!-_.'\" \t\n\r\f\v\x1c\x85\u2028\u200d\u0301 ", *FRAGMENTS, "'S", "'ve", "ing", "1st"]
    for _ in range(STRINGS):
        choices = draw.choices(range(4), (8, 2, 1, 1), k=draw.randint(1, 12))
        yield "".join(
            draw.choice(signs)
            if choice == 0
            else chr(draw.choice(CODE_POINTS if choice == 1 else DISPUTED))
            if choice < 3
            else chr(draw.randrange(0x20, 0x3000))
            for choice in choices
        )


@pytest.mark.slow
def test_the_table_has_the_code_points_on_which_the_libraries_disagree() -> None:
    disputed = disputed_code_points(encode_with_gigatoken(), encode_with_tiktoken())
    assert list(as_ranges(disputed)) == DISPUTED_CODE_POINTS.read_text().split()


@given(TEXTS)
def test_ids_are_those_of_tiktoken(fast: FastEncoder, text: str) -> None:
    assert encode(fast, text) == TIKTOKEN.encode_ordinary(text)


@pytest.mark.slow
def test_ids_of_every_code_point_are_those_of_tiktoken(fast: FastEncoder) -> None:
    for start in range(0, len(CODE_POINTS), 512):
        # Alone, after a space, between letters and after an apostrophe; a line end keeps each from the next.
        codes = map(chr, CODE_POINTS[start : start + 512])
        text = "".join(f"{code}\n {code}\na{code}a\n'{code}s\n" for code in codes)
        assert encode(fast, text) == TIKTOKEN.encode_ordinary(text)


def test_ids_of_rare_code_points_alone_are_those_of_both_libraries(fast: FastEncoder) -> None:
    ends = [code for first, last in RANGES for code in (first - 1, first, last, last + 1)]
    for code in [*ends, *CODE_POINTS[::1001]]:
        for text in (chr(code), f" {chr(code)}", f"a{chr(code)}", f"'{chr(code)}"):
            assert encode(fast, text) == TIKTOKEN.encode_ordinary(text) == TOKENIZER.encode(text)


@pytest.mark.slow
def test_ids_of_adversarial_strings_are_those_of_both_libraries(fast: FastEncoder) -> None:
    for text in adversarial_strings():
        assert encode(fast, text) == TIKTOKEN.encode_ordinary(text) == TOKENIZER.encode(text)


@pytest.mark.slow
def test_ids_of_source_code_are_those_of_both_libraries(fast: FastEncoder) -> None:
    for text in blocks_of_source_code():
        ids = encode(fast, text)
        assert ids == TIKTOKEN.encode_ordinary(text)
        assert ids == TOKENIZER.encode(text)


@pytest.mark.skipif("GPT2CLI_CORPUS" not in os.environ, reason="GPT2CLI_CORPUS names no folder of texts")
def test_ids_of_the_corpus_are_those_of_both_libraries(fast: FastEncoder) -> None:
    paths = sorted(Path(os.environ["GPT2CLI_CORPUS"]).glob("*.txt"))
    assert paths
    for path in paths:
        data = path.read_bytes()
        for block in cut_blocks(
            data[start : start + BLOCK_BYTES] for start in range(0, len(data), BLOCK_BYTES)
        ):
            text = block.data.decode()
            ids = encode(fast, text)
            assert ids == TIKTOKEN.encode_ordinary(text)
            assert ids == TOKENIZER.encode(text)


@given(TEXTS)
def test_special_tokens_are_found_on_request(fast: FastEncoder, text: str) -> None:
    assert encode(SPECIAL, text) == TIKTOKEN.encode(text, allowed_special="all")
    assert encode(fast, END_OF_TEXT) == TIKTOKEN.encode_ordinary(END_OF_TEXT)


SPECIAL = open_fast(TOKENIZER, special=True)


def test_a_tokenizer_of_its_own_merges_has_its_own_ids() -> None:
    library = tokenizers.Tokenizer.from_file(str(STORIES))
    tokenizer = Tokenizer(library, ModelConfig(vocab_size=library.get_vocab_size()))
    stories = open_fast(tokenizer)
    for text in [*adversarial_strings()][:1000]:
        assert encode(stories, text) == tokenizer.encode(text)


def train(**settings: Any) -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer(models.BPE(**settings))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    library.train_from_iterator(
        ["once upon a time"] * 3,
        trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet, show_progress=False),
    )
    return library


def with_added_token() -> tokenizers.Tokenizer:
    library = train()
    library.add_tokens(["[more]"])
    return library


def with_prefix_space() -> tokenizers.Tokenizer:
    library = train()
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return library


def with_ranks_against_ids() -> tokenizers.Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: token_id for token_id, token in enumerate([*alphabet, "ab", "bc"])}
    return byte_level(models.BPE(vocabulary, [("b", "c"), ("a", "b")]))


def with_token_beyond_merges() -> tokenizers.Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: token_id for token_id, token in enumerate([*alphabet, "ab", "xyz"])}
    return byte_level(models.BPE(vocabulary, [("a", "b")]))


def byte_level(model: models.BPE) -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return library


@pytest.mark.parametrize(
    "library",
    [
        train(ignore_merges=True),
        train(dropout=0.5),
        train(unk_token="?"),
        with_added_token(),
        with_prefix_space(),
        with_ranks_against_ids(),
        with_token_beyond_merges(),
    ],
    ids=["no merges", "dropout", "unknown token", "added token", "prefix space", "ranks", "beyond merges"],
)
def test_tokenizers_that_the_fast_library_takes_otherwise_stay_on_the_slow_one(
    library: tokenizers.Tokenizer,
) -> None:
    assert find_fast(Tokenizer(library, ModelConfig(vocab_size=300))) is None


def test_a_tokenizer_with_more_ids_than_the_model_stays_on_the_slow_one() -> None:
    assert find_fast(Tokenizer(train(), ModelConfig(vocab_size=257))) is None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a peak of memory there")
def test_memory_does_not_grow_with_the_number_of_different_words() -> None:
    program = """
import pathlib, random
from gpt2cli.text.loading import bundled_tokenizer
fast = bundled_tokenizer().open_fast_encoder(None)
letters = bytes.maketrans(bytes(range(256)), bytes(97 + byte % 26 for byte in range(256)))
for seed in range(36):
    words = bytearray(random.Random(seed).randbytes(1 << 20).translate(letters))
    words[::8] = b" " * len(words[::8])
    fast.encode(words.decode())
print(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert int(shown.stdout) < 300_000


def test_ids_are_unsigned_integers_of_32_bits(fast: FastEncoder) -> None:
    ids = fast.encode("Hello")
    assert (type(ids), ids.itemsize, ids.typecode) == (array, 4, "I")
