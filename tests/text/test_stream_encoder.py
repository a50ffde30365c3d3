"""Encoding streams of bytes, and parsing decimal ids."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import pytest
import tokenizers
from bpe_oracles import TEXTS, TIKTOKEN
from gpt2_tokenizer import TOKENIZER
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.errors import InputError
from gpt2cli.text.streaming.stream_encoder import (
    FAST_FROM_BYTES,
    InvalidBytes,
    StreamEncoder,
    first_ids,
    read_ids,
)
from gpt2cli.text.tokenizer import Tokenizer

MIXED = "naïve  café's 👍🏽,\tx1y2 \n\n  日本語。\u3000 <|endoftext|> '\U00010950l \r\n" * 500


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def encode(encoder: StreamEncoder, data: bytes, size: int = 1 << 20) -> list[int]:
    return joined(encoder.encode(pieces(data, size), "f"))


def joined(blocks: Iterable[array[int]]) -> list[int]:
    return [token_id for ids in blocks for token_id in ids]


def warm_encoder(invalid: InvalidBytes = "strict") -> StreamEncoder:
    """Return an encoder that has seen enough to use the fast library."""
    encoder = StreamEncoder(TOKENIZER, invalid=invalid)
    encode(encoder, b" word" * FAST_FROM_BYTES)
    return encoder


@pytest.fixture(scope="module", params=["slow", "fast"])
def encoder(request: pytest.FixtureRequest) -> StreamEncoder:
    return StreamEncoder(TOKENIZER) if request.param == "slow" else warm_encoder()


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000, 1 << 14, 1 << 20])
def test_ids_do_not_depend_on_how_the_bytes_come(encoder: StreamEncoder, size: int) -> None:
    assert encode(encoder, MIXED.encode(), size) == TIKTOKEN.encode_ordinary(MIXED)


@given(TEXTS, st.integers(1, 40))
def test_ids_of_any_text_are_those_of_tiktoken(encoder: StreamEncoder, text: str, size: int) -> None:
    assert encode(encoder, text.encode(), size) == TIKTOKEN.encode_ordinary(text)


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_special_tokens_are_found_however_the_bytes_come(size: int) -> None:
    text = f"a{END_OF_TEXT}b {END_OF_TEXT}\n" * 20
    assert encode(StreamEncoder(TOKENIZER, special=True), text.encode(), size) == TIKTOKEN.encode(
        text, allowed_special="all"
    )


def test_blocks_come_before_the_stream_ends() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"Hello world "

    assert next(iter(StreamEncoder(TOKENIZER).encode(endless(), "f"))).tolist() == [15496, 995]


def test_a_tokenizer_that_cannot_be_cut_gets_the_whole_text() -> None:
    library = tokenizers.Tokenizer.from_str(TOKENIZER._library.to_str())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    library.normalizer = normalizers.NFC()
    tokenizer = Tokenizer(library, ModelConfig())
    text = "fox fox\n e\u0301"
    assert encode(StreamEncoder(tokenizer), text.encode(), 1) == library.encode(text).ids


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_an_invalid_byte_is_named_with_its_offset_in_the_whole(size: int) -> None:
    with pytest.raises(InputError, match="f: the byte 0xff at offset 12345 is not valid UTF-8"):
        encode(StreamEncoder(TOKENIZER), b"word " * 2469 + b"\xff" + b" word" * 10, size)


@given(st.binary(), st.integers(1, 10))
def test_invalid_bytes_can_be_replaced(data: bytes, size: int) -> None:
    encoder = StreamEncoder(TOKENIZER, invalid="replace")
    assert encode(encoder, data, size) == TIKTOKEN.encode_ordinary(data.decode(errors="replace"))


# Among them characters that mark bytes in the fast encoder, and one on which the libraries disagree.
KEPT = [
    *(b"a ", b" \xff", b"\xf0\x9f", b"\xe2\x80 ", b"'ll", b"\x80\xbf\xc0"),
    *("\U0010ff80".encode(), "\U0010ffff".encode(), "\u088f".encode()),
]


@pytest.fixture(scope="module")
def keepers() -> list[StreamEncoder]:
    return [StreamEncoder(TOKENIZER, invalid="keep"), warm_encoder("keep")]


@given(st.binary() | st.lists(st.sampled_from(KEPT)).map(b"".join))
def test_any_bytes_come_back_the_same_and_do_not_depend_on_how_they_come(
    keepers: list[StreamEncoder], data: bytes
) -> None:
    for encoder in keepers:
        ids = encode(encoder, data)
        assert TOKENIZER.decode(ids) == data
        assert [encode(encoder, data, size) for size in (1, 2, 5)] == [ids] * 3
        assert ids == encode(keepers[0], data)


@given(TEXTS)
def test_keeping_invalid_bytes_changes_no_valid_text(text: str) -> None:
    assert encode(StreamEncoder(TOKENIZER, invalid="keep"), text.encode()) == TIKTOKEN.encode_ordinary(text)


def test_an_invalid_byte_is_its_own_token_and_parts_the_text() -> None:
    keeping = StreamEncoder(TOKENIZER, invalid="keep")
    assert encode(keeping, b"Hello \xff world") == [15496, 220, TOKENIZER.byte_id(0xFF), 995]
    assert [TOKENIZER.token_bytes(TOKENIZER.byte_id(byte)) for byte in range(256)] == [
        bytes([byte]) for byte in range(256)
    ]


@given(st.lists(st.integers(0, 50256)), st.sampled_from([" ", ",", ", ", "\n", "] ["]), st.integers(1, 9))
def test_decimal_ids_are_read_however_they_come(ids: list[int], separator: str, size: int) -> None:
    text = f"[{separator.join(map(str, ids))}]".encode()
    assert joined(read_ids(pieces(text, size), "f")) == ids


@pytest.mark.parametrize("size", [1, 4, 1 << 20])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"1 x 2", "'x'"),
        (b"1 2-3", "'2-3'"),
        (b"1 +2", r"'\+2'"),
        (b"7" * 60, f"'{'7' * 40}'"),
        (b"1_0", "'1_0'"),
    ],
)
def test_what_is_not_an_id_is_an_error(text: bytes, shown: str, size: int) -> None:
    with pytest.raises(InputError, match=f"f: {shown if size > 60 else '.*'} is not a token id"):
        joined(read_ids(pieces(text, size), "f"))


@pytest.mark.parametrize(
    ("limit", "expected", "read"), [(0, 0, 1), (3, 3, 1), (4, 4, 2), (9, 6, 2), (None, 6, 2)]
)
def test_no_more_is_read_than_the_first_ids_take(limit: int | None, expected: int, read: int) -> None:
    blocks = iter([array("I", [1, 2, 3]), array("I", [4, 5, 6])])
    ids = [token_id for block in first_ids(blocks, limit) for token_id in block]
    assert ids == [1, 2, 3, 4, 5, 6][:expected]
    assert len(list(blocks)) == 2 - read
