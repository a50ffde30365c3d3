"""Tokenizers of GGUF files: the ids are those of llama.cpp, and of the tokenizer that was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from checkpoints import save_model_folder
from gguf_files import write_gguf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_cpp import LlamaCpp, llama_cpp, needs_llama_cpp
from tokenizers import Tokenizer

from gpt2cli.checkpoint.gguf.contents import read_contents
from gpt2cli.checkpoint.gguf.header import read_gguf_header
from gpt2cli.checkpoint.gguf.tokenizer.splitting import SPLITTINGS
from gpt2cli.checkpoint.gguf.tokenizer.stored_tokenizer import described_tokenizer, tokenizer_json
from gpt2cli.errors import UsageError

SMALL = {"vocab_size": 600, "n_positions": 64, "n_embd": 32, "n_layer": 1, "n_head": 2}
# Where splittings differ: digits, contractions in capitals, line ends, marks, spaces of all kinds.
TEXTS = (
    "Hello world, it's 3 o'clock",
    "IT'S 1234567 things; we'LL see 12,345.67$",
    "a\n\n\nb \n  c\t\td\r\n  e   ",
    "<|endoftext|>Once <|pad|> upon<|sep|>a time<|endoftext|>",
    "über größe naïve café ÀÉÎ",
    "你好\uff0c世界\uff01 こんにちは ㎡ ½ ٣٤٥",
    "🙂👍🏽 \u200b\u00a0x \u3000y",
    "$+<=>^~|` #include <stdio.h> // x_y ''s 's",
    "",
    " ",
)
WORDS = st.sampled_from(
    [
        *"aZ0'9 \n\t\r.,$<é½٣你🙂\u00a0\u0301",
        "'s",
        "'LL",
        "  ",
        "123",
        "1234",
        "the",
        " The",
        "<|endoftext|>",
        "<|sep|>",
    ]
)
NAMES = [splitting.names[0] for splitting in SPLITTINGS]


def add_tokens(path: Path) -> None:
    """Give a tokenizer.json added tokens of both kinds, with the last ids."""
    library = Tokenizer.from_file(str(path))
    description = json.loads(library.to_str())
    rules = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    for number, (content, special) in enumerate((("<|pad|>", True), ("<|sep|>", False)), 598):
        description["added_tokens"].append({"id": number, "content": content, "special": special, **rules})
    path.write_text(json.dumps(description))


@pytest.fixture(scope="module", params=[*NAMES, None])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a GGUF file with each splitting."""
    folder = tmp_path_factory.mktemp("vocabulary")
    tokenizer = folder / "tokenizer.json"
    reference = save_model_folder(folder, **SMALL | {"vocab_size": 598})
    add_tokens(tokenizer)
    reference.resize_token_embeddings(600)
    path = folder / "made.gguf"
    write_gguf(path, reference, tokenizer, values={"tokenizer.ggml.pre": request.param})
    return path


@pytest.fixture(scope="module")
def theirs(opened: Path) -> Any:
    with llama_cpp(opened, 64) as running:
        yield running


def library_of(path: Path) -> Tokenizer:
    return Tokenizer.from_str(read_contents(path).tokenizer)


def encode(library: Tokenizer, text: str, special: bool) -> list[int]:
    library.encode_special_tokens = not special
    return list(library.encode(text, add_special_tokens=False).ids)


@needs_llama_cpp
@pytest.mark.slow
@pytest.mark.parametrize("special", [False, True])
def test_ids_are_those_of_llama_cpp(opened: Path, theirs: LlamaCpp, special: bool) -> None:
    library = library_of(opened)
    for text in TEXTS:
        assert encode(library, text, special) == theirs.encode(text, special), text


@needs_llama_cpp
@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS, max_size=12).map("".join))
def test_ids_of_any_text_are_those_of_llama_cpp(opened: Path, theirs: LlamaCpp, text: str) -> None:
    assert encode(library_of(opened), text, False) == theirs.encode(text)


def test_a_tokenizer_comes_back_as_it_was_written(opened: Path) -> None:
    header = read_gguf_header(opened)
    written = tokenizer_json(header, 600)
    values = described_tokenizer(written, 600, 0, 0)
    assert values["tokenizer.ggml.pre"] == (header.values.get("tokenizer.ggml.pre") or "default")
    for key in ("tokens", "token_type", "merges"):
        name = f"tokenizer.ggml.{key}"
        stored = header.numbers(name, 600) if key == "token_type" else header.strings(name, 6000)
        assert values[name] == stored


def test_ids_without_a_token_are_padding(tmp_path: Path) -> None:
    reference = save_model_folder(tmp_path, **SMALL)
    reference.resize_token_embeddings(610)
    path = tmp_path / "padded.gguf"
    write_gguf(path, reference, tmp_path / "tokenizer.json")
    contents = read_contents(path)
    assert contents.config.vocab_size == 610
    assert Tokenizer.from_str(contents.tokenizer).get_vocab_size() == 600
    values = described_tokenizer(contents.tokenizer, 610, None, None)
    assert values["tokenizer.ggml.tokens"][-10:] == [f"[PAD{number}]" for number in range(600, 610)]
    assert values["tokenizer.ggml.token_type"][-11:] == [1, *[5] * 10]


def test_a_file_without_types_has_special_ends(tmp_path: Path) -> None:
    reference = save_model_folder(tmp_path, **SMALL)
    path = tmp_path / "old.gguf"
    write_gguf(path, reference, tmp_path / "tokenizer.json", values={"tokenizer.ggml.token_type": None})
    library = library_of(path)
    assert encode(library, "<|endoftext|>", True) == [0]
    assert len(encode(library, "<|endoftext|>", False)) > 1


def test_a_text_begins_with_bos_if_the_file_says_so(tmp_path: Path) -> None:
    reference = save_model_folder(tmp_path, **SMALL)
    path = tmp_path / "bos.gguf"
    for wanted in (True, False):
        write_gguf(
            path, reference, tmp_path / "tokenizer.json", values={"tokenizer.ggml.add_bos_token": wanted}
        )
        contents = read_contents(path)
        ids = Tokenizer.from_str(contents.tokenizer).encode("Once").ids
        assert (ids[0] == 0) is wanted
        assert described_tokenizer(contents.tokenizer, 600, 0, 0)["tokenizer.ggml.add_bos_token"] is wanted


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("normalizer", {"type": "NFC"}, "only if it is plain byte-level BPE or SentencePiece"),
        ("pre_tokenizer", {"type": "Whitespace"}, "have no name for how the tokenizer of this model splits"),
        (
            "pre_tokenizer",
            {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True},
            "have no name for how the tokenizer of this model splits",
        ),
    ],
)
def test_a_tokenizer_that_such_files_cannot_hold_is_refused(
    tmp_path: Path, part: str, value: dict[str, Any], message: str
) -> None:
    save_model_folder(tmp_path, **SMALL)
    description = json.loads((tmp_path / "tokenizer.json").read_text()) | {part: value}
    with pytest.raises(UsageError, match=message):
        described_tokenizer(json.dumps(description), 600, 0, 0)
