"""Ids in binary files and as decimal text, read back by numpy and by hand."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.errors import UsageError
from gpt2cli.text.token_files import DecimalText, Format, TokenFile

IDS = [0, 255, 256, 50256, 7]


def write(path: Path, kind: Format, vocab_size: int, *blocks: list[int]) -> bytes:
    with path.open("wb") as file:
        tokens = TokenFile(file, kind, vocab_size)
        for ids in blocks:
            tokens.write(array("I", ids))
        tokens.finish()
    return path.read_bytes()


def test_u16_is_two_bytes_an_id_little_end_first(tmp_path: Path) -> None:
    assert write(tmp_path / "f", "u16", 50257, [1, 50256], [], [256]) == b"\x01\x00\x50\xc4\x00\x01"


def test_u32_is_four_bytes_an_id_little_end_first(tmp_path: Path) -> None:
    assert write(tmp_path / "f", "u32", 1 << 20, [1], [70000]) == b"\x01\x00\x00\x00\x70\x11\x01\x00"


@pytest.mark.parametrize(("vocab_size", "dtype"), [(50257, "<u2"), (65536, "<u2"), (65537, "<u4")])
def test_npy_tells_its_length_and_takes_the_smaller_type_that_fits(
    tmp_path: Path, vocab_size: int, dtype: str
) -> None:
    write(tmp_path / "f.npy", "npy", vocab_size, IDS, IDS * 1000, [])
    read = np.load(tmp_path / "f.npy", mmap_mode="r")
    assert (read.dtype, read.tolist()) == (np.dtype(dtype), IDS * 1001)


def test_an_empty_npy_has_no_ids(tmp_path: Path) -> None:
    write(tmp_path / "f.npy", "npy", 50257)
    assert np.load(tmp_path / "f.npy").shape == (0,)


def test_u16_is_refused_to_a_vocabulary_that_does_not_fit(tmp_path: Path) -> None:
    write(tmp_path / "f", "u16", 65536, [65535])
    with pytest.raises(UsageError, match="u16 is too small for a vocabulary of 65537"):
        write(tmp_path / "f", "u16", 65537, [1])


@pytest.mark.slow
@pytest.mark.parametrize("vocab_size", [50257, 10**7, 10**8])
def test_ids_in_decimal_are_the_same_however_many(vocab_size: int) -> None:
    text = DecimalText(vocab_size)
    few = array("I", [0, 9, 10, 50256, 99, vocab_size - 1] if vocab_size <= 50257 else IDS)
    many = few * 30_000
    assert text.spell(many) == "".join(f"{token_id} " for token_id in many).encode()
    assert text.spell(few) == "".join(f"{token_id} " for token_id in few).encode()


@given(st.lists(st.integers(0, 50256)))
def test_ids_in_decimal_have_a_space_after_each(ids: list[int]) -> None:
    expected = "".join(f"{token_id} " for token_id in ids).encode()
    assert FEW.spell(array("I", ids)) == MANY.spell(array("I", ids)) == expected


FEW, MANY = DecimalText(50257), DecimalText(50257)
MANY.spell(array("I", bytes(4)) * (1 << 18))
