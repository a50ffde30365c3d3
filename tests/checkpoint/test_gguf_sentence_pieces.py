"""SentencePiece vocabularies in GGUF files: the ids are those of llama.cpp and of transformers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import tokenizers_of_kinds
from checkpoints import save_model_folder
from gguf_files import BYTE, CONTROL, NORMAL, UNKNOWN, write_gguf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_cpp import LlamaCpp, llama_cpp, needs_llama_cpp
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from gpt2cli.checkpoint.gguf.contents import read_contents
from gpt2cli.checkpoint.gguf.tokenizer.stored_tokenizer import described_tokenizer
from gpt2cli.errors import CheckpointError, UsageError

SMALL = {"n_positions": 64, "n_embd": 32, "n_layer": 1, "n_head": 2}
SIZE = 383
SPACE = "\u2581"
TEXTS = (
    "Once upon a time there was an old fox's den.",
    "naïve café 👍  two  spaces\n\n\ttab ",
    " leading",
    "",
    " ",
    f"{SPACE}spelled",
    "你好 \u200b\u00a0x",
)
PIECES = st.sampled_from([*"aeft 'é👍\n\t2", "  ", "Once", " upon", "fox", " the", SPACE])


def described() -> dict[str, Any]:
    """Return the values of a header for a small vocabulary, as llama.cpp's converter writes them."""
    vocabulary = tokenizers_of_kinds.llama2().get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * (len(tokens) - 259)]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.scores": [-float(number) for number in range(len(tokens))],
        "tokenizer.ggml.merges": None,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def write(folder: Path, changes: Mapping[str, Any] = {}) -> Path:
    values = described() | dict(changes)
    reference = save_model_folder(folder, **SMALL, vocab_size=len(values["tokenizer.ggml.tokens"]))
    path = folder / "pieces.gguf"
    write_gguf(path, reference, folder / "tokenizer.json", values=values)
    return path


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("pieces"))


@pytest.fixture(scope="module")
def library(opened: Path) -> Tokenizer:
    return Tokenizer.from_str(read_contents(opened).tokenizer)


@pytest.fixture(scope="module")
def theirs(opened: Path) -> Iterator[LlamaCpp]:
    with llama_cpp(opened, 64) as running:
        yield running


def encode(library: Tokenizer, text: str) -> list[int]:
    return list(library.encode(text, add_special_tokens=False).ids)


def test_ids_are_those_of_transformers(library: Tokenizer, tmp_path: Path) -> None:
    # The library knows no GPT-2 with a tokenizer of this kind.
    alone = tmp_path / "alone"
    alone.mkdir()
    path = write(tmp_path, {"general.architecture": "llama"}).rename(alone / "pieces.gguf")
    reference = AutoTokenizer.from_pretrained(alone, gguf_file=path.name)
    # llama.cpp and SentencePiece put a space before these too; transformers does not.
    spaced = (" ", SPACE)
    for text in TEXTS:
        if text.startswith(spaced):
            continue
        assert encode(library, text) == reference(text, add_special_tokens=False).input_ids, text


def test_a_text_begins_with_bos_and_comes_back(library: Tokenizer) -> None:
    for text in TEXTS:
        ids = library.encode(text).ids
        assert ids[0] == 1
        assert library.decode(ids) == text.replace(SPACE, " ")


@needs_llama_cpp
@settings(
    max_examples=3 * settings().max_examples, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.one_of(st.sampled_from(TEXTS), st.lists(PIECES, max_size=12).map("".join)))
def test_ids_are_those_of_llama_cpp(library: Tokenizer, theirs: LlamaCpp, text: str) -> None:
    assert encode(library, text) == theirs.encode(text)


def test_a_tokenizer_comes_back_as_it_was_written(opened: Path, tmp_path: Path) -> None:
    values = described_tokenizer(read_contents(opened).tokenizer, SIZE, 1, 2)
    for key in ("tokens", "token_type", "model", "bos_token_id", "eos_token_id", "unknown_token_id"):
        name = f"tokenizer.ggml.{key}"
        assert values[name] == described()[name]
    assert (values["tokenizer.ggml.add_bos_token"], values["tokenizer.ggml.add_space_prefix"]) == (True, True)
    assert read_contents(write(tmp_path, values)).tokenizer == read_contents(opened).tokenizer


def test_a_file_may_put_no_space_first(tmp_path: Path) -> None:
    path = write(tmp_path, {"tokenizer.ggml.add_space_prefix": False})
    library = Tokenizer.from_str(read_contents(path).tokenizer)
    assert library.encode("fox", add_special_tokens=False).tokens[0][0] != SPACE
    assert library.decode(library.encode(" fox").ids) == " fox"
    assert described_tokenizer(library.to_str(), SIZE, 1, 2)["tokenizer.ggml.add_space_prefix"] is False


def test_merges_that_no_scores_give_are_refused() -> None:
    # Training makes each token from one pair only.
    with pytest.raises(UsageError, match="do not follow from scores"):
        described_tokenizer(tokenizers_of_kinds.llama2().to_str(), SIZE, 1, 2)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (None, "scores is missing"),
        ([0.0], "scores is missing, or not a number for each token"),
        ([math.nan] * SIZE, "not a number for each token"),
        ([1] * SIZE, "scores is "),
    ],
)
def test_damaged_scores_are_one_line(tmp_path: Path, scores: list[Any] | None, message: str) -> None:
    path = write(tmp_path, {"tokenizer.ggml.scores": scores})
    with pytest.raises(CheckpointError, match=message) as caught:
        read_contents(path)
    assert "\n" not in str(caught.value)
