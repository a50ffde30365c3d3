"""Text without a place to cut, read in parts: the ids of the whole, in bounded memory."""

from __future__ import annotations

import random
import tracemalloc
from array import array
from itertools import pairwise

import pytest
import tokenizers
from bpe_oracles import TIKTOKEN
from gpt2_tokenizer import TOKENIZER
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.text.byte_pairs import SYMBOL_OF_BYTE
from gpt2cli.text.stored import long_runs
from gpt2cli.text.stored.library import joins, pretoken_places
from gpt2cli.text.stored.library import pretoken_ids as library_ids
from gpt2cli.text.streaming import text_blocks
from gpt2cli.text.streaming.stream_encoder import StreamEncoder
from gpt2cli.text.tokenizer import Tokenizer

STRICT, SPECIAL = StreamEncoder(TOKENIZER), StreamEncoder(TOKENIZER, special=True)
KEEPING = StreamEncoder(TOKENIZER, invalid="keep")
REPLACING = StreamEncoder(TOKENIZER, invalid="replace")
UNITS = [*"als' \t\n\0-=7²é語ー\x1c\u3000👍", "'s"]
PAIRS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=40)
RUNS = st.lists(st.tuples(st.sampled_from(UNITS), st.integers(1, 60))).map(
    lambda runs: "".join(unit * count for unit, count in runs)
)
MIXED = st.lists(st.tuples(st.text(st.sampled_from("abcdeilst"), min_size=1), st.integers(1, 9))).map(
    lambda runs: "".join(unit * count for unit, count in runs)
)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have short runs read as long ones are."""
    monkeypatch.setattr(text_blocks, "LONGEST_RUN", 3)
    monkeypatch.setattr(long_runs, "LONG_PRETOKEN", 4)
    monkeypatch.setattr(long_runs, "PART_BYTES", 4)
    monkeypatch.setattr(long_runs, "STRETCH_BYTES", 8)


def encode(encoder: StreamEncoder, data: bytes, size: int) -> list[int]:
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return [token_id for ids in encoder.encode(pieces, "f") for token_id in ids]


@pytest.mark.usefixtures("short")
@given(RUNS | MIXED, st.integers(1, 40))
def test_runs_have_the_ids_of_tiktoken_however_they_come(text: str, size: int) -> None:
    assert encode(STRICT, text.encode(), size) == TIKTOKEN.encode_ordinary(text)


@pytest.mark.usefixtures("short")
@given(st.lists(st.sampled_from(["aaaaaaaa", "  ", END_OF_TEXT, "<|endof", "|>", "<", "\n"])).map("".join))
def test_special_tokens_in_runs_are_found(text: str) -> None:
    assert encode(SPECIAL, text.encode(), 5) == TIKTOKEN.encode(text, allowed_special="all")


@pytest.mark.usefixtures("short")
@given(st.lists(st.sampled_from([b"aaaaaaa", b"\xff", b"\xe8\xaa", b"\xf0\x9f\x91", b"   ", b"\0\0\0\0"])))
def test_bytes_that_are_no_text_part_runs(parts: list[bytes]) -> None:
    data = b"".join(parts)
    ids = encode(KEEPING, data, 3)
    assert TOKENIZER.decode(ids) == data
    assert ids == encode(KEEPING, data, 1 << 20)
    assert encode(REPLACING, data, 3) == TIKTOKEN.encode_ordinary(data.decode("utf-8", "replace"))


def chained_tokenizer(links: int) -> Tokenizer:
    """Return a tokenizer that merges the last letters first, so that ids depend on an end far away."""
    letters = [chr(ord("a") + place) for place in range(links)]
    merges = [*reversed(list(pairwise(letters)))]
    symbols = [*SYMBOL_OF_BYTE.values()]
    tokens = [*symbols, *("".join(merge) for merge in merges)]
    library = tokenizers.Tokenizer(models.BPE({token: place for place, token in enumerate(tokens)}, merges))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return Tokenizer(library, ModelConfig(vocab_size=len(tokens)))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("end", range(20, 27))
def test_no_id_is_returned_that_text_far_behind_it_may_change(end: int) -> None:
    tokenizer = chained_tokenizer(26)
    text = "abcdefghijklmnopqrstuvwxyz"[:end]
    expected = tokenizer._library.encode(text * 3).ids
    assert encode(StreamEncoder(tokenizer), text.encode() * 3, 1) == expected


@pytest.mark.usefixtures("short")
@given(PAIRS, st.text(st.sampled_from("abc")))
def test_runs_have_the_ids_of_any_tokenizer(pairs: list[tuple[int, int]], text: str) -> None:
    tokens, merges = [*SYMBOL_OF_BYTE.values()], []
    made = ["a", "b", "c"]
    for left, right in pairs:
        merge = made[left % len(made)], made[right % len(made)]
        if "".join(merge) not in made:
            merges.append(merge)
            made.append("".join(merge))
    tokens += made[3:]
    library = tokenizers.Tokenizer(models.BPE({token: place for place, token in enumerate(tokens)}, merges))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = Tokenizer(library, ModelConfig(vocab_size=len(tokens)))
    assert encode(StreamEncoder(tokenizer), text.encode() * 8, 7) == library.encode(text * 8).ids


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["a", " ", "語"], ids=ascii)
def test_a_run_takes_the_same_memory_at_any_length(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_blocks, "LONGEST_RUN", 1 << 12)
    monkeypatch.setattr(long_runs, "PART_BYTES", 1 << 11)
    monkeypatch.setattr(long_runs, "STRETCH_BYTES", 1 << 12)
    data = unit.encode() * (1 << 11)
    list(StreamEncoder(TOKENIZER).encode((data for _ in range(4)), "f"))
    peaks = []
    for count in (8, 32):
        encoder = StreamEncoder(TOKENIZER)
        tracemalloc.start()
        total = sum(map(len, encoder.encode((data for _ in range(count)), "f")))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert total >= len(data) * count // 8
    assert peaks[1] < 1.3 * peaks[0]


def test_the_work_on_a_run_grows_as_its_length_does(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    def counted(library: tokenizers.Tokenizer, data: bytes) -> list[int]:
        nonlocal read
        read += len(data)
        return library_ids(library, data)

    def encode_counted(text: str) -> array[int]:
        return array("I", counted(TOKENIZER._library, text.encode()))

    monkeypatch.setattr(long_runs, "pretoken_ids", counted)
    letters = "".join(random.Random(1).choices("etaoinshrdlu", k=1 << 15))
    totals = []
    for count in (8, 16):
        read = 0
        runs = TOKENIZER.open_long_runs(encode_counted, special=False)
        assert runs
        for _ in range(count):
            runs.push(letters)
        runs.finish()
        totals.append(read)
    assert totals[1] < 2.5 * totals[0]
    assert totals[1] < 2.5 * 16 * len(letters)


def test_a_run_of_one_character_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_runs, "STRETCH_BYTES", 1 << 14)
    checked: list[bytes] = []

    def counted(library: tokenizers.Tokenizer, data: bytes) -> list[int]:
        checked.append(data)
        return library_ids(library, data)

    monkeypatch.setattr(long_runs, "pretoken_ids", counted)
    runs = TOKENIZER.open_long_runs(lambda text: array("I", TOKENIZER.encode(text)), special=False)
    assert runs
    for _ in range(16):
        runs.push("a" * (1 << 14))
    assert len(checked) < 3 * 128


@given(st.characters(codec="utf-8"), st.characters(codec="utf-8") | st.sampled_from("as1' !"))
def test_a_run_goes_on_with_characters_of_its_kind_alone(one: str, other: str) -> None:
    kind = joins(TOKENIZER._library, one)
    is_one = len(pretoken_places(TOKENIZER._library, kind + one + other + one)) == 1
    assert is_one == (joins(TOKENIZER._library, other) == kind)
