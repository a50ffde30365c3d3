"""Ids and bytes, against tiktoken and tokenizers."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from bpe_oracles import TEXTS, TIKTOKEN
from gpt2_tokenizer import TOKENIZER
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

import gpt2cli.text.loading
import gpt2cli.text.tokenizer
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.errors import CheckpointError, InputError
from gpt2cli.hub.model_files import ModelFiles
from gpt2cli.text.byte_pairs import BYTE_OF_SYMBOL
from gpt2cli.text.loading import load_tokenizer
from gpt2cli.text.stored.library import BUNDLED_MERGES, read_library
from gpt2cli.text.tokenizer import Tokenizer

MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
CORPUS = ["Once upon a time there was a fox, an old fox's den.\n", "naïve café 👍, 1 2 3\n"] * 4


def spell(data: bytes) -> str:
    symbols = {byte: symbol for symbol, byte in BYTE_OF_SYMBOL.items()}
    return "".join(symbols[byte] for byte in data)


@pytest.fixture(scope="module")
def gpt2_library(tmp_path_factory: pytest.TempPathFactory) -> tokenizers.Tokenizer:
    """Return GPT-2's tokenizer as the library itself reads it from vocab.json and merges.txt."""
    vocabulary = tmp_path_factory.mktemp("gpt2") / "vocab.json"
    ids = {spell(TIKTOKEN.decode_single_token_bytes(token_id)): token_id for token_id in range(50256)}
    vocabulary.write_text(json.dumps(ids | {END_OF_TEXT: 50256}))
    library = tokenizers.Tokenizer(models.BPE.from_file(str(vocabulary), str(BUNDLED_MERGES)))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens([END_OF_TEXT])
    return library


def train_library(size: int = 300, **trainer: Any) -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    settings = {
        "special_tokens": [END_OF_TEXT],
        "initial_alphabet": pre_tokenizers.ByteLevel.alphabet(),
        "show_progress": False,
        **trainer,
    }
    library.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=size, **settings))
    return library


def model_files(*tokenizer: Path) -> ModelFiles:
    return ModelFiles("tiny", None, Path("config.json"), (), tokenizer)


def save(library: tokenizers.Tokenizer, folder: Path) -> ModelFiles:
    path = folder / "tokenizer.json"
    library.save(str(path))
    return model_files(path)


def load(library: tokenizers.Tokenizer, folder: Path, **config: Any) -> Tokenizer:
    return load_tokenizer(
        save(library, folder), ModelConfig(**{"vocab_size": library.get_vocab_size(), **config})
    )


def test_the_bundled_merges_are_the_official_ones() -> None:
    assert hashlib.sha256(BUNDLED_MERGES.read_bytes()).hexdigest() == MERGES_SHA256


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("Hello world", [15496, 995]),
        ("Hello, world!\r\n", [15496, 11, 995, 0, 201, 198]),
        ("👍", [41840, 235]),
        (" 👍", [50169, 235]),
        ("🙂", [8582, 25081]),
        ("Hello ", [15496, 220]),
        ("\n\n", [628]),
        ("<|endoftext|>", [27, 91, 437, 1659, 5239, 91, 29]),
        ("\ufeffHello", [171, 119, 123, 15496]),
        ("caf\u00e9", [66, 1878, 2634]),
        ("cafe\u0301", [66, 8635, 136, 223]),
    ],
)
def test_the_bundled_tokenizer_gives_the_golden_ids(text: str, ids: list[int]) -> None:
    assert TOKENIZER.encode(text) == ids


def test_every_id_of_the_bundled_tokenizer_has_the_bytes_that_tiktoken_gives_it() -> None:
    assert (TOKENIZER.vocab_size, TOKENIZER.bos_id, TOKENIZER.eos_id) == (50257, 50256, 50256)
    expected = [TIKTOKEN.decode_single_token_bytes(token_id) for token_id in range(50257)]
    assert [TOKENIZER.token_bytes(token_id) for token_id in range(50257)] == expected
    assert sum(data != data.decode(errors="ignore").encode() for data in expected) == 344


@settings(max_examples=3 * settings().max_examples)
@given(TEXTS)
@example("a  \n b\t \x1c!\u00a0 c")
def test_ids_are_those_of_tiktoken_and_stand_for_the_text(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert ids == TIKTOKEN.encode_ordinary(text)
    assert TOKENIZER.encode(text, special=True) == TIKTOKEN.encode(text, allowed_special="all")
    assert TOKENIZER.decode(ids) == text.encode()


@pytest.mark.slow
@given(TEXTS)
def test_ids_are_those_of_tokenizers(gpt2_library: tokenizers.Tokenizer, text: str) -> None:
    assert TOKENIZER.encode(text, special=True) == gpt2_library.encode(text).ids


@given(TEXTS, st.integers(1, 5))
def test_cutting_a_long_text_does_not_change_its_ids(text: str, part_length: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpt2cli.text.tokenizer, "_PART_LENGTH", part_length)
        assert TOKENIZER.encode(text) == TIKTOKEN.encode_ordinary(text)


@pytest.mark.slow
def test_a_million_letters_without_a_space_round_trip() -> None:
    text = "a" * 1_000_000
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text.encode()


def test_half_a_surrogate_pair_is_an_input_error() -> None:
    with pytest.raises(InputError, match="Character 2"):
        TOKENIZER.encode("ab\ud83d")


@pytest.mark.parametrize("token_id", [-1, 50257, 2**70])
def test_an_id_out_of_range_is_an_input_error(token_id: int) -> None:
    with pytest.raises(InputError, match="0 to 50256"):
        TOKENIZER.decode([0, token_id])


def test_a_trained_tokenizer_file_gives_the_ids_of_the_library(tmp_path: Path) -> None:
    library = train_library()
    tokenizer = load(library, tmp_path)
    text = f"Once upon a {END_OF_TEXT} 👍\n"
    assert tokenizer.encode(text, special=True) == library.encode(text).ids
    assert END_OF_TEXT in [library.id_to_token(token_id) for token_id in tokenizer.encode(text, special=True)]
    assert 0 not in tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text.encode()
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_id) == (300, 0, 0)
    assert tokenizer.token_bytes(0) == END_OF_TEXT.encode()


def test_vocabulary_and_merges_give_the_ids_of_the_tokenizer_file(tmp_path: Path) -> None:
    library = train_library()
    library.model.save(str(tmp_path))
    files = model_files(tmp_path / "merges.txt", tmp_path / "vocab.json")
    tokenizer = load_tokenizer(files, ModelConfig(vocab_size=300))
    text = f"An old fox {END_OF_TEXT}"
    assert tokenizer.encode(text, special=True) == library.encode(text).ids
    assert 0 not in tokenizer.encode(text)
    assert tokenizer.eos_id == 0


def test_tokens_of_a_vocabulary_that_spell_no_bytes_are_their_own_text(tmp_path: Path) -> None:
    train_library().model.save(str(tmp_path))
    vocabulary = tmp_path / "vocab.json"
    vocabulary.write_text(json.dumps(json.loads(vocabulary.read_text()) | {"<конец текста>": 300}))
    files = model_files(vocabulary, tmp_path / "merges.txt")
    tokenizer = load_tokenizer(files, ModelConfig(vocab_size=301))
    assert tokenizer.token_bytes(300) == "<конец текста>".encode()


def test_a_model_without_tokenizer_files_gets_the_bundled_one_if_its_size_fits() -> None:
    assert load_tokenizer(model_files(), ModelConfig()).encode("Hello world") == [15496, 995]
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        load_tokenizer(model_files(), ModelConfig(vocab_size=131))


def test_the_config_tells_the_special_ids_unless_the_model_does_not_have_them(tmp_path: Path) -> None:
    library = train_library()
    told = load(library, tmp_path, bos_token_id=7, eos_token_id=8)
    assert (told.bos_id, told.eos_id) == (7, 8)
    beyond = load(library, tmp_path, bos_token_id=50256, eos_token_id=50256)
    assert (beyond.bos_id, beyond.eos_id) == (0, 0)
    nowhere = load(train_library(special_tokens=[]), tmp_path)
    assert (nowhere.bos_id, nowhere.eos_id) == (None, None)


def test_ids_that_only_pad_the_model_stand_for_nothing(tmp_path: Path) -> None:
    tokenizer = load(train_library(), tmp_path, vocab_size=320)
    assert tokenizer.decode([319]) == b""
    with pytest.raises(InputError, match="0 to 319"):
        tokenizer.decode([320])


def test_an_id_that_the_model_lacks_is_refused_when_text_needs_it(tmp_path: Path) -> None:
    library = train_library()
    library.add_tokens(["[more]"])
    tokenizer = load(library, tmp_path, vocab_size=300)
    assert tokenizer.decode([300]) == b"[more]"
    with pytest.raises(CheckpointError, match="id 300, but the model has only 300"):
        tokenizer.encode("and [more]")


def test_added_tokens_that_are_not_special_are_always_found(tmp_path: Path) -> None:
    library = train_library()
    library.add_tokens(["<né wo>"])
    tokenizer = load(library, tmp_path)
    assert 300 in tokenizer.encode("a <né wo> b")
    assert tokenizer.decode(tokenizer.encode("a <né wo> b")) == "a <né wo> b".encode()


@pytest.mark.parametrize(
    "added",
    [tokenizers.AddedToken("<a b>"), tokenizers.AddedToken("<ab>", rstrip=True)],
    ids=["with a space", "taking the space after it"],
)
def test_a_text_is_not_cut_inside_added_tokens(
    tmp_path: Path, added: tokenizers.AddedToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpt2cli.text.tokenizer, "_PART_LENGTH", 1)
    library = train_library()
    library.add_tokens([added])
    text = f"fox {added.content}  fox {added.content} fox"
    assert load(library, tmp_path).encode(text) == library.encode(text).ids


def test_other_rules_of_a_tokenizer_file_hold_for_the_whole_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpt2cli.text.tokenizer, "_PART_LENGTH", 1)
    library = train_library()
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    library.normalizer = normalizers.NFC()
    text = "fox\nfox\n e\u0301"
    tokenizer = load(library, tmp_path)
    assert tokenizer.encode(text) == library.encode(text).ids
    assert tokenizer.decode(tokenizer.encode(text)) == " fox\nfox\n é".encode()


def test_truncation_and_padding_of_a_tokenizer_file_are_not_for_us(tmp_path: Path) -> None:
    library = train_library()
    library.enable_truncation(4)
    library.enable_padding(length=64)
    tokenizer = load(library, tmp_path)
    assert tokenizer.decode(tokenizer.encode("an old fox's den")) == b"an old fox's den"


def test_bytes_without_a_token_are_refused_where_they_occur(tmp_path: Path) -> None:
    # As that of SmolLM2, which saw no such bytes in training.
    alphabet = [symbol for symbol, byte in BYTE_OF_SYMBOL.items() if byte not in (0x04, 0xF1, 0xFF)]
    library = train_library(initial_alphabet=alphabet)
    tokenizer = load(library, tmp_path)
    assert tokenizer.encode("fox\nfox é") == library.encode("fox\nfox é").ids
    for text, byte in (("fox \x04", 0x04), ("\U00040000", 0xF1)):
        with pytest.raises(InputError, match=rf"has no token for the byte 0x{byte:02x}\.$"):
            tokenizer.encode(text)
    with pytest.raises(InputError, match=r"has no token for the byte 0xff\.$"):
        tokenizer.byte_id(0xFF)
    assert tokenizer.token_bytes(tokenizer.byte_id(0xF0)) == b"\xf0"
    assert tokenizer.open_fast_encoder(lambda text: array("I")) is None


def make_word_piece() -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))


def make_bpe_of_words() -> tokenizers.Tokenizer:
    return train_library(initial_alphabet=[])


def make_bpe_of_characters() -> tokenizers.Tokenizer:
    library = train_library()
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    return library


@pytest.mark.parametrize(
    ("library", "message"),
    [
        (make_word_piece(), "tokenizer of tiny is WordPiece"),
        (make_bpe_of_words(), r"no token for 2\d\d of the 256 bytes"),
        (make_bpe_of_characters(), "does not work on bytes"),
    ],
    ids=["WordPiece", "words", "characters"],
)
def test_a_tokenizer_that_is_not_byte_level_bpe_is_refused(
    tmp_path: Path, library: tokenizers.Tokenizer, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(library, tmp_path)


@pytest.fixture
def library_reads(monkeypatch: pytest.MonkeyPatch) -> list[ModelFiles]:
    """Return a list that grows whenever the library reads the files of a tokenizer."""
    reads: list[ModelFiles] = []

    def count(files: ModelFiles, *rest: Any) -> tokenizers.Tokenizer:
        reads.append(files)
        return read_library(files, *rest)

    monkeypatch.setattr(gpt2cli.text.loading, "read_library", count)
    return reads


def test_a_short_text_and_a_few_ids_need_no_library(tmp_path: Path, library_reads: list[ModelFiles]) -> None:
    library = train_library()
    tokenizer = load(library, tmp_path)
    ids = tokenizer.encode("an old fox's den")
    assert ids == library.encode("an old fox's den").ids
    assert tokenizer.decode(ids) == b"an old fox's den"
    assert (tokenizer.bos_id, tokenizer.eos_id) == (0, 0)
    assert library_reads == []


@pytest.mark.parametrize("text", ["naïve café", f"fox {END_OF_TEXT}", "fox" * 100])
def test_a_text_that_is_not_simple_gets_its_ids_from_the_library(
    tmp_path: Path, library_reads: list[ModelFiles], text: str
) -> None:
    library = train_library()
    tokenizer = load(library, tmp_path)
    assert [tokenizer.encode(text, special=True) for _ in range(2)] == [library.encode(text).ids] * 2
    assert len(library_reads) == 1


@pytest.mark.parametrize("texts", [["an old fox " * 1000], ["an old fox "] * 1000], ids=["long", "many"])
def test_much_text_gets_its_ids_from_the_library(
    tmp_path: Path, library_reads: list[ModelFiles], texts: list[str]
) -> None:
    library = train_library()
    tokenizer = load(library, tmp_path)
    assert [tokenizer.encode(text) for text in texts] == [library.encode(text).ids for text in texts]
    assert len(library_reads) == 1


def test_many_ids_get_their_bytes_from_the_library(tmp_path: Path, library_reads: list[ModelFiles]) -> None:
    library = train_library()
    tokenizer = load(library, tmp_path)
    text = spell(tokenizer.decode(range(1, 300)))
    assert text == "".join(str(library.id_to_token(token_id)) for token_id in range(1, 300))
    assert len(library_reads) == 1


def test_a_file_that_only_seems_whole_is_a_checkpoint_error_when_the_library_is_needed(
    tmp_path: Path,
) -> None:
    files = save(train_library(), tmp_path)
    path = files.tokenizer[0]
    path.write_text(path.read_text().replace('"merges": [', '"merges": [["fox", "den"],'))
    tokenizer = load_tokenizer(files, ModelConfig(vocab_size=300))
    with pytest.raises(CheckpointError, match="cannot be read"):
        tokenizer.encode("naïve")


@pytest.mark.parametrize("content", [b"", b"{}", b"not JSON", b"\xff\xfe", b"[1]"])
def test_a_damaged_tokenizer_file_is_a_checkpoint_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"tokenizer files in {tmp_path} cannot be read"):
        load_tokenizer(model_files(path), ModelConfig())


def test_merges_that_do_not_fit_the_vocabulary_are_a_checkpoint_error(tmp_path: Path) -> None:
    train_library().model.save(str(tmp_path))
    files = model_files(tmp_path / "vocab.json", BUNDLED_MERGES)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_tokenizer(files, ModelConfig())


def test_half_of_the_tokenizer_files_is_a_checkpoint_error(tmp_path: Path) -> None:
    train_library().model.save(str(tmp_path))
    with pytest.raises(CheckpointError, match=r"needs tokenizer\.json, or vocab\.json and merges\.txt"):
        load_tokenizer(model_files(tmp_path / "vocab.json"), ModelConfig(vocab_size=300))


def test_importing_the_module_does_not_load_the_library() -> None:
    program = "import sys, gpt2cli.text.tokenizer; print({'tokenizers', 'numpy', 'torch'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert shown.stdout == "set()\n"
