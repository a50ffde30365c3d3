"""Tokenizers of each kind, against transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, processors
from tokenizers_of_kinds import CORPUS, KINDS, in_transformers, save_vocabulary

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.errors import CheckpointError, InputError
from gpt2cli.hub.model_files import ModelFiles
from gpt2cli.text.loading import load_tokenizer
from gpt2cli.text.reading.notes import TextNotes
from gpt2cli.text.stored.saving import tokenizer_files
from gpt2cli.text.streaming.text_stream import TextStream
from gpt2cli.text.tokenizer import Tokenizer

LIBRARIES = {name: make() for name, make in KINDS.items()}
# All but these can spell every text.
INCOMPLETE = ("gpt1", "words", "characters")
KNOWN = "".join(sorted(set("".join(CORPUS))))


def load(folder: Path, library: tokenizers.Tokenizer) -> Tokenizer:
    path = folder / "tokenizer.json"
    library.save(str(path))
    files = ModelFiles("tiny", None, Path("config.json"), (), (path,))
    return load_tokenizer(files, ModelConfig(vocab_size=library.get_vocab_size()))


@pytest.fixture(scope="module", params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, str]:
    library = LIBRARIES[request.param]
    tokenizer = load(tmp_path_factory.mktemp(request.param), library)
    return tokenizer, in_transformers(library), request.param


def texts() -> st.SearchStrategy[str]:
    anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    return anything | st.text(KNOWN, max_size=40) | st.lists(st.sampled_from(CORPUS[0].split())).map(" ".join)


@example("Once upon a time")
@example("  two  spaces ")
@example("Café 👍 e\u0301 <think> 2024")
@example("fox ▁fox")
@example("")
@given(text=texts())
@settings(max_examples=settings().max_examples * 3 // 2)
def test_ids_and_text_are_those_of_transformers(opened: tuple[Any, Any, str], text: str) -> None:
    tokenizer, reference, kind = opened
    if kind == "characters":
        text = "".join(character for character in text if character in KNOWN)
    ids = reference.encode(text, add_special_tokens=False)
    assert tokenizer.encode(text, special=True) == ids
    expected = reference.decode(ids)
    assert tokenizer.decode(ids).decode() == expected
    stream = TextStream(tokenizer.open_decoder())
    assert "".join(map(stream.push, ids)) + stream.finish() == expected
    # NFC changes a text, and so does a decoder that takes the first space for one that was put there.
    if kind in ("smollm", "llama3") or (kind == "llama2" and "▁" not in text):
        assert expected == text


@given(data=st.data())
def test_the_text_of_any_ids_is_that_of_transformers(
    opened: tuple[Any, Any, str], data: st.DataObject
) -> None:
    tokenizer, reference, kind = opened
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=12))
    expected = reference.decode(ids)
    made = tokenizer.decode(ids).decode("utf-8", "replace")
    # Of byte tokens that are not UTF-8 together, the library also gives up those that are.
    if kind not in ("llama2", "metaspace") or "\ufffd" not in expected:
        assert made == expected


def test_the_special_tokens_before_a_text_are_those_of_transformers(opened: tuple[Any, Any, str]) -> None:
    tokenizer, reference, _ = opened
    assert [*tokenizer.leading_ids, *tokenizer.encode("a fox")] == reference.encode("a fox")


def test_every_byte_has_a_token_or_none_has(opened: tuple[Any, Any, str]) -> None:
    tokenizer, _, kind = opened
    if kind in INCOMPLETE:
        with pytest.raises(InputError, match="no tokens for single bytes"):
            tokenizer.byte_id(65)
    else:
        assert [tokenizer.token_bytes(tokenizer.byte_id(byte))[0] for byte in range(256)] == [*range(256)]


@pytest.mark.parametrize(
    ("kind", "before", "text"),
    [
        ("smollm", "Once", " upon a time"),
        ("llama2", "Once", " upon a time"),
        ("metaspace", "Once", " upon a time"),
        ("llama2", "Once", "upon"),
        ("gpt1", "once", " upon a time"),
        ("gpt1", "once ", "upon a time"),
        ("words", "Once", " upon a time"),
        ("characters", "Once", " upon"),
    ],
)
def test_a_text_goes_on_where_another_ends(tmp_path: Path, kind: str, before: str, text: str) -> None:
    tokenizer = load(tmp_path, LIBRARIES[kind])
    ids = tokenizer.encode(text, continues=True)
    assert b"".join(map(tokenizer.open_decoder(before), ids)).decode() == text
    # Other texts are not changed by this.
    assert tokenizer.encode(text) == LIBRARIES[kind].encode(text, add_special_tokens=False).ids


def test_vocabulary_and_merges_of_gpt1_give_its_ids(tmp_path: Path) -> None:
    save_vocabulary(LIBRARIES["gpt1"], tmp_path)
    paths = (tmp_path / "vocab.json", tmp_path / "merges.txt")
    size = LIBRARIES["gpt1"].get_vocab_size()
    files = ModelFiles("tiny", None, Path("config.json"), (), paths)
    tokenizer = load_tokenizer(files, ModelConfig(vocab_size=size))
    reference = transformers.OpenAIGPTTokenizerFast(vocab=str(paths[0]), merges=str(paths[1]))
    for text in [*CORPUS, "Éclair, THE Fox! 漢字"]:
        ids = reference.encode(text)
        assert len(ids) > 3
        assert tokenizer.encode(text) == ids
        assert tokenizer.decode(ids).decode() == reference.decode(ids)


def test_tokens_before_a_text_are_found_where_the_vocabulary_lacks_most_texts(tmp_path: Path) -> None:
    library = tokenizers.Tokenizer(models.WordLevel({"<s>": 0, "x": 1, "y": 2}, unk_token="<unk>"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    library.add_special_tokens(["<s>"])
    library.post_processor = processors.TemplateProcessing(single="<s> $A <s>", special_tokens=[("<s>", 0)])
    tokenizer = load(tmp_path, library)
    assert list(tokenizer.leading_ids) == [0]
    assert library.encode("x y").ids == [0, 1, 2, 0]
    with pytest.raises(InputError, match="no token for 'z'"):
        tokenizer.encode("x z")


def test_byte_tokens_that_no_text_gets_are_refused(tmp_path: Path) -> None:
    library = tokenizers.Tokenizer.from_str(LIBRARIES["llama2"].to_str())
    library.model.byte_fallback = False
    with pytest.raises(CheckpointError, match="no token for 256 of the 256 bytes"):
        load(tmp_path, library)


@pytest.mark.parametrize(("kind", "part"), [("gpt1", "漢"), ("words", "zebra")])
def test_unknown_text_is_noted_once(tmp_path: Path, kind: str, part: str) -> None:
    tokenizer = load(tmp_path, LIBRARIES[kind])
    notes: list[str] = []
    checked = TextNotes(notes.append, tokenizer, special=False)
    for text in ("a fox", f"a {part} fox", f"{part} again"):
        checked.check(text, "a.txt")
    assert notes == [f"note: a.txt has {part!r}, which the tokenizer does not know and reads as unknown"]


def make_characters_by_merges() -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    library.decoder = decoders.Fuse()
    return library


@pytest.mark.parametrize("library", [LIBRARIES["characters"], make_characters_by_merges()])
def test_text_that_has_no_ids_is_refused(tmp_path: Path, library: tokenizers.Tokenizer) -> None:
    tokenizer = load(tmp_path, library)
    assert tokenizer.decode(tokenizer.encode("ab")) == b"ab"
    with pytest.raises(InputError, match="no token for '漢'"):
        tokenizer.encode("ab漢b")


def test_a_tokenizer_that_does_not_say_what_its_tokens_spell_is_refused(tmp_path: Path) -> None:
    library = tokenizers.Tokenizer(models.BPE({"a": 0}, []))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(CheckpointError, match="tiny does not say how its tokens make a text"):
        load(tmp_path, library)
    library.decoder = decoders.CTC()
    with pytest.raises(CheckpointError, match="by CTC"):
        load(tmp_path, library)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_that_is_saved_again_is_the_same_to_transformers(tmp_path: Path, kind: str) -> None:
    tokenizer = load(tmp_path, LIBRARIES[kind])
    saved = tmp_path / "saved"
    saved.mkdir()
    config = ModelConfig(vocab_size=LIBRARIES[kind].get_vocab_size())
    # Texts that continue others must leave no trace.
    tokenizer.encode("fox", continues=True)
    for name, content in tokenizer_files(tokenizer, config).items():
        (saved / name).write_text(content, "utf-8")
    again = transformers.AutoTokenizer.from_pretrained(saved)
    reference = in_transformers(LIBRARIES[kind])
    for text in [*CORPUS, " a fox", "2024 fox"]:
        ids = reference.encode(text)
        assert again.encode(text) == ids
        assert again.decode(ids) == reference.decode(ids)
