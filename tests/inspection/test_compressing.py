"""Compression with a model: exact for all bytes, on any number of threads and each instruction set."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import needs_kernels
from checkpoints import save_checkpoint, save_model_folder, save_tokenizer
from conftest import Gpt2
from families import save_family
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers_of_kinds import KINDS

import gpt2cli
from gpt2cli.errors import Error, InputError
from gpt2cli.inspection.compression.container import (
    MAGIC,
    compress,
    compress_text,
    decompress,
    decompress_text,
)
from gpt2cli.inspection.compression.frequencies import HIGHEST, frequencies
from gpt2cli.inspection.compression.range_coder import RangeDecoder, RangeEncoder
from gpt2cli.inspection.compression.symbols import PIECE_BYTES, pieces
from gpt2cli.language_model import LanguageModel
from gpt2cli.ops.backend import choose_instruction_set
from gpt2cli.scoring.rows import TextRow

TEXT = Path(__file__).read_text()
# A context of 48 tokens makes many windows.
LONG = TEXT[:600].encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compression")
    save_model_folder(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return gpt2cli.load(str(folder), device="cpu", threads=1)


# The range coder alone


@given(st.lists(st.tuples(st.integers(1, 2**46), st.data()), max_size=60))
def test_numbers_of_any_frequency_come_back(entries: Sequence[tuple[int, Any]]) -> None:
    coder, told = RangeEncoder(), []
    for total, data in entries:
        start = data.draw(st.integers(0, total - 1))
        size = data.draw(st.integers(1, total - start))
        told.append((start, size, total))
        coder.encode(start, size, total)
    code = coder.drain() + coder.finish()
    decoder = RangeDecoder([code])
    for start, size, total in told:
        assert start <= decoder.position(total) < start + size
        decoder.decode(start, size)
    needed = sum(math.log2(Fraction(total, size)) for _, size, total in told)
    assert len(code) <= needed / 8 + 2


def test_a_carry_reaches_back_through_bytes_that_wait_for_it() -> None:
    total = 256
    coder = RangeEncoder()
    # Just below a carry, until the last number decides it.
    sequence = [(127, 1), *[(255, 1)] * 20, (255, 1), (128, 1)]
    drained = b""
    for start, size in sequence:
        coder.encode(start, size, total)
        drained += coder.drain()
    decoder = RangeDecoder([drained + coder.finish()])
    for start, size in sequence:
        assert decoder.position(total) == start
        decoder.decode(start, size)


# Frequencies


def test_frequencies_follow_the_probabilities_and_none_is_zero() -> None:
    logits = np.array([[0.0, 1.5, -3.0, -np.inf, -1e30, 1.5]], np.float32)
    (found,) = frequencies(logits)
    weights = np.exp(logits[0].astype(np.float64) - 1.5)
    assert found == pytest.approx(weights * HIGHEST + 1, rel=1e-7, abs=2)
    assert (found.min(), found.max()) == (1, HIGHEST + 1)


@pytest.mark.parametrize("logits", [[np.nan, 1.0], [np.inf, 1.0], [-np.inf, -np.inf]])
def test_logits_that_are_no_numbers_are_refused(logits: list[float]) -> None:
    with pytest.raises(Error, match="NaN"):
        frequencies(np.array(logits, np.float32))


# Symbols


@given(st.lists(st.binary(max_size=9000), max_size=3))
def test_pieces_are_the_same_bytes_and_no_longer_than_said(chunks: list[bytes]) -> None:
    found = list(pieces(chunks))
    assert b"".join(found) == b"".join(chunks)
    assert all(0 < len(piece) <= PIECE_BYTES for piece in found)


def test_a_piece_ends_between_words_or_else_between_characters() -> None:
    text = ("word " * 2000).encode()
    assert {piece[:1] for piece in list(pieces([text]))[1:]} == {b" "}
    for piece in pieces(["żółw".encode() * 1000]):
        piece.decode()


# Round trips


@needs_kernels
@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
@example(data=b"")
@example(data=bytes(range(256)))
@example(data=b"\xff\xfe" * 60 + "é<|endoftext|>\r\n".encode())
@settings(max_examples=15)
def test_any_bytes_come_back(model: LanguageModel, data: bytes) -> None:
    assert model.decompress(model.compress(data)) == data
    assert decompress_text(model, compress_text(model, data)) == data


@pytest.mark.slow
@needs_kernels
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_a_text_comes_back_on_other_threads_and_each_instruction_set(folder: Path, quantize: str) -> None:
    one, three = (
        gpt2cli.load(str(folder), device="cpu", threads=threads, quantize=quantize) for threads in (1, 3)
    )
    made = {}
    for name in ("generic", "avx2", "avx512", "amx"):
        if choose_instruction_set(name):
            made[name] = one.compress(LONG)
    choose_instruction_set(None)
    assert made
    for data in set(made.values()):
        assert three.decompress(data) == LONG
    if {"avx512", "amx"} <= made.keys():
        assert made["avx512"] == made["amx"]


@needs_kernels
@pytest.mark.parametrize("name", ["gpt1", "gpt-neo", "gpt-neox", "opt", "llama", "mistral"])
def test_a_text_comes_back_from_each_kind_of_model(tmp_path: Path, name: str) -> None:
    save_family(tmp_path, name, vocab_size=320)
    save_tokenizer(tmp_path, 320)
    model = gpt2cli.load(str(tmp_path), device="cpu", threads=1)
    data = LONG[:300] + bytes(range(128, 256))
    assert model.decompress(model.compress(data)) == data


@needs_kernels
@pytest.mark.parametrize("kind", KINDS)
def test_a_text_comes_back_from_each_kind_of_tokenizer(tmp_path: Path, kind: str) -> None:
    made = KINDS[kind]()
    save_checkpoint(tmp_path, vocab_size=made.get_vocab_size() + 3)
    made.save(str(tmp_path / "tokenizer.json"))
    model = gpt2cli.load(str(tmp_path), device="cpu", threads=1)
    data = b"Once Upon a  time,\tthe OLD king\r\n" + "é ż".encode() + b"\xff" + LONG[:100]
    assert model.decompress(model.compress(data)) == data


@needs_kernels
@pytest.mark.parametrize("name", ["stories", "random"])
def test_the_size_is_the_surprisal_that_score_reports(name: str, model: LanguageModel) -> None:
    chosen = gpt2cli.load("stories", device="cpu") if name == "stories" else model
    text = (Path(gpt2cli.__file__).parent / "data" / "held_out.txt").read_text()[:1500]
    (row,) = chosen.score(text, by="document")
    assert isinstance(row, TextRow)
    assert row.surprisal is not None
    size = len(chosen.compress(text.encode())) - len(chosen.compress(b""))
    assert size == pytest.approx(row.surprisal / 8, rel=0.01)


@needs_kernels
def test_a_model_without_a_beginning_of_text_begins_with_any_token(folder: Path) -> None:
    model = gpt2cli.load(str(folder), device="cpu", threads=1)
    model.tokenizer.bos_id = None
    assert model.decompress(model.compress(b"")) == b""
    assert model.decompress(model.compress(LONG[:200])) == LONG[:200]


@needs_kernels
def test_a_short_text_is_a_word_for_shells_and_addresses(model: LanguageModel) -> None:
    for text in ("", "a", "The cat sat on the mat.", "\0\xff'\"$ `"):
        made = compress_text(model, text.encode())
        assert not set(made) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._")


# Refusals


def test_only_the_kernels_promise_the_same_logits(folder: Path) -> None:
    numpy = gpt2cli.load(str(folder), device="cpu", backend="numpy")
    with pytest.raises(Error, match=r"The backend numpy rounds differently"):
        numpy.compress(b"")


@needs_kernels
def test_another_model_or_type_is_refused(tmp_path: Path, folder: Path, model: LanguageModel) -> None:
    data, short = model.compress(b"Once"), compress_text(model, b"Once")
    save_model_folder(tmp_path)
    save_checkpoint(tmp_path, seed=1, vocab_size=320)
    other = gpt2cli.load(str(tmp_path), device="cpu")
    with pytest.raises(InputError, match=f"was compressed with {folder}, whose files differ"):
        other.decompress(data)
    with pytest.raises(InputError, match="Another model than"):
        decompress_text(other, short)
    rounded = gpt2cli.load(str(folder), device="cpu", quantize="int8")
    with pytest.raises(InputError, match=r"was compressed in float32 .* and this is int8 "):
        rounded.decompress(data)


@pytest.mark.slow
@needs_kernels
def test_every_damaged_or_missing_byte_is_found(model: LanguageModel) -> None:
    text = b"Once upon a time"
    data = model.compress(text)
    name = data.index(model.files.name.encode())
    informative = range(name, name + len(model.files.name))
    for place in set(range(len(data))) - set(informative):
        broken = bytearray(data)
        broken[place] ^= 1 << place % 8
        with pytest.raises(InputError):
            model.decompress(bytes(broken))
    for end in range(len(data)):
        with pytest.raises(InputError):
            model.decompress(data[:end])
    with pytest.raises(InputError, match="The text is not compressed by gpt2"):
        model.decompress(text)


@needs_kernels
def test_damaged_characters_are_found(model: LanguageModel) -> None:
    made = compress_text(model, b"Once upon a time")
    for broken in (
        "",
        "ab",
        made[:-3],
        made[:8] + ("a" if made[8] != "a" else "b") + made[9:],
        "é" + made,
        "a b",
    ):
        with pytest.raises(InputError):
            decompress_text(model, broken)


@needs_kernels
def test_a_stream_is_compressed_as_it_arrives(model: LanguageModel) -> None:
    data = TEXT[: 3 * PIECE_BYTES].encode()
    read: list[int] = []

    def arriving() -> Iterator[bytes]:
        for place in range(0, len(data), 512):
            read.append(place)
            yield data[place : place + 512]

    # A header, and the code of some windows.
    list(itertools.islice(compress(model, arriving()), 5))
    assert len(read) < len(data) / 512 / 2


@needs_kernels
def test_a_stream_is_decompressed_as_it_arrives(model: LanguageModel) -> None:
    data = b"".join(compress(model, [LONG]))
    given: list[int] = []

    def arriving() -> Iterator[bytes]:
        for place in range(0, len(data), 50):
            given.append(place)
            yield data[place : place + 50]

    made = decompress(model, arriving(), "x")
    first = b"".join(itertools.islice(made, 30))
    assert LONG.startswith(first)
    assert len(given) < len(data) / 50 / 2
    assert first + b"".join(made) == LONG


# At the command line


@needs_kernels
@pytest.mark.slow
def test_files_and_pipes_come_back(gpt2: Gpt2, folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "any.gz"
    source.write_bytes(b"\xef\xbb\xbf" + random.Random(0).randbytes(200) + b"\r\n")
    packed = tmp_path / "any.g2"
    assert gpt2("compress", source, "-m", folder, "-o", packed, "--threads", "1").returncode == 0
    assert packed.read_bytes().startswith(MAGIC)
    piped = gpt2("decompress", "-m", folder, "--threads", "2", stdin=packed.read_bytes())
    assert piped.stdout == source.read_bytes()
    damaged = packed.read_bytes()[:-9]
    refused = gpt2("decompress", "-m", folder, "-o", tmp_path / "out", stdin=damaged)
    assert (refused.returncode, (tmp_path / "out").exists()) == (1, False)
    assert refused.stderr == b"Error: The compressed text is damaged or cut off. Copy it again.\n"
    short = gpt2("compress", "-m", folder, "--text", "żółw\n").stdout.decode().strip()
    assert gpt2("decompress", "-m", folder, "--text", short).stdout.decode() == "żółw\n\n"
