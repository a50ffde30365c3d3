"""Blocks of text whose concatenated ids are the ids of the whole text."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import pytest
from bpe_oracles import TEXTS, TIKTOKEN
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.errors import InputError
from gpt2cli.text.streaming.text_blocks import LONGEST_RUN, cut_blocks, decode_utf8, read_chunks, text_parts

# Without white space, so that only other places to cut are left.
DENSE_TEXTS = st.lists(
    st.sampled_from([*"aZ09'\"-_{`", "'ll", "'s", "'", "é", "、", "\uff0c", "大", "ー"])
).map("".join)


def cut(data: bytes, chunk_size: int, between_words_only: bool = False) -> Iterator[bytes]:
    blocks = list(cut_blocks(read_chunks(BytesIO(data), chunk_size), between_words_only))
    assert all(block.is_whole for block in blocks)
    return iter([block.data for block in blocks])


def ids_of_blocks(blocks: Iterator[bytes]) -> list[int]:
    return [token_id for block in blocks for token_id in TIKTOKEN.encode_ordinary(block.decode())]


@given(TEXTS | DENSE_TEXTS, st.integers(1, 20), st.booleans())
def test_blocks_have_the_ids_of_the_whole(text: str, chunk_size: int, between_words_only: bool) -> None:
    blocks = list(cut(text.encode(), chunk_size, between_words_only))
    assert b"".join(blocks) == text.encode()
    assert ids_of_blocks(iter(blocks)) == TIKTOKEN.encode_ordinary(text)


@given(st.binary(), st.integers(1, 20))
def test_bytes_that_are_no_text_are_cut_where_replacing_them_changes_nothing(
    data: bytes, chunk_size: int
) -> None:
    blocks = list(cut(data, chunk_size))
    for errors in ("replace", "surrogateescape"):
        assert "".join(block.decode("utf-8", errors) for block in blocks) == data.decode("utf-8", errors)


@pytest.mark.parametrize(
    "unit", ["word ", "日本語。\n", '{"a":1},', "3f9a", "word,", "私は、", "我们\uff0c"], ids=ascii
)
def test_ordinary_text_is_never_held_back_for_long(unit: str) -> None:
    blocks = list(cut(unit.encode() * 1000, 100))
    assert max(map(len, blocks)) < 200
    assert ids_of_blocks(iter(blocks)) == TIKTOKEN.encode_ordinary(unit * 1000)


@pytest.mark.parametrize("unit", [" ", "a", "\n", "\x00"], ids=ascii)
def test_what_is_one_run_to_the_pattern_stays_whole(unit: str) -> None:
    assert list(cut(unit.encode() * 1000, 7)) == [unit.encode() * 1000]


def test_only_words_are_cut_apart_on_request() -> None:
    assert list(cut(b"<|endoftext|> a,b", 1, between_words_only=True)) == [b"<|endoftext|>", b" a,b"]


@given(TEXTS, st.integers(1, 20))
def test_parts_of_a_text_have_its_ids(text: str, length: int) -> None:
    parts = list(text_parts(text, length))
    assert "".join(parts) == text
    ids = [token_id for part in parts for token_id in TIKTOKEN.encode_ordinary(part)]
    assert ids == TIKTOKEN.encode_ordinary(text)


def test_a_byte_that_is_not_utf8_is_named_with_its_place_in_the_whole() -> None:
    with pytest.raises(InputError, match="f: the byte 0xff at offset 12 is not valid UTF-8"):
        decode_utf8(b"ab\xff", "f", 10)


def test_an_empty_chunk_changes_nothing_even_after_a_run_that_was_cut() -> None:
    run = b"a" * (LONGEST_RUN + 1)
    blocks = list(cut_blocks([b"", run, b"", b"aa", b""], cuts_runs=lambda: True))
    assert [block.data for block in blocks] == [run, b"aa"]
