"""Streaming text, against a full decode and a plain search."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from functools import partial

import pytest
from gpt2_tokenizer import TOKENIZER
from hypothesis import example, given
from hypothesis import strategies as st
from plain_ends import plain_ends
from work import bytes_copied

from gpt2cli.text.streaming.text_ends import Unit
from gpt2cli.text.streaming.text_stream import TextStream

EMOJI = "👍🏽".encode()
# Few letters, so that stop strings begin, fail and overlap often; one letter spans two tokens.
FRAGMENTS = st.lists(
    st.sampled_from([b"a", b"b", b"ab", b"ba", b"aab", b"\xc3", b"\xa9", "é".encode(), b"\0"])
)
STOPS = st.lists(st.text("abé\0�", min_size=1, max_size=4), min_size=1, max_size=3)


def pieces_of(tokens: Sequence[bytes], stream: TextStream) -> Iterator[str]:
    for token_id in range(len(tokens)):
        yield stream.push(token_id)
    yield stream.finish()


def stream_over(tokens: Sequence[bytes], stop: Sequence[str] = ()) -> TextStream:
    return TextStream(tokens.__getitem__, stop)


@given(st.lists(st.binary(max_size=5) | st.sampled_from([EMOJI[:2], EMOJI[2:], EMOJI[:7], b"\0", b"\xff"])))
@example([b"a", EMOJI[:3]])
@example([b"\xe2", b"\x28\xa1", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
def test_pieces_joined_are_the_full_decode(tokens: list[bytes]) -> None:
    pieces = pieces_of(tokens, stream_over(tokens))
    assert "".join(pieces) == b"".join(tokens).decode(errors="replace")


@given(st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=50))
def test_pieces_of_random_ids_joined_are_their_full_decode(ids: list[int]) -> None:
    stream = TextStream(TOKENIZER.token_bytes)
    pieces = [stream.push(token_id) for token_id in ids] + [stream.finish()]
    assert "".join(pieces) == TOKENIZER.decode(ids).decode(errors="replace")


@given(st.text())
def test_text_that_is_complete_leaves_nothing_to_finish(text: str) -> None:
    stream = TextStream(TOKENIZER.token_bytes)
    assert "".join(map(stream.push, TOKENIZER.encode(text))) == text
    assert stream.finish() == ""


@given(FRAGMENTS, STOPS)
@example([b"a", b"a", b"a", b"b"], ["aab"])
@example([b"ab", b"aab", b"a"], ["abaaba", "baa"])
def test_text_ends_before_the_stop_string_that_begins_first(tokens: list[bytes], stop: list[str]) -> None:
    text = b"".join(tokens).decode(errors="replace")
    starts = [start for start in map(text.find, stop) if start >= 0]
    stream = stream_over(tokens, stop)
    assert "".join(pieces_of(tokens, stream)) == text[: min(starts, default=len(text))]
    assert stream.stopped == bool(starts)


@given(FRAGMENTS, STOPS)
def test_no_more_is_held_back_than_may_begin_a_stop_string(tokens: list[bytes], stop: list[str]) -> None:
    stream = stream_over(tokens, stop)
    shown = ""
    for token_id in range(len(tokens)):
        shown += stream.push(token_id)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(b"".join(tokens[: token_id + 1]))
        if any(string in text for string in stop):
            return
        held = text[len(shown) :]
        assert held == "" or any(string.startswith(held) for string in stop)


WORDS = st.lists(
    st.sampled_from(
        [
            *(b"He", b" ran", b".", b". ", b'."', b"\n", b" \n", b"\r", b" and", b"\xc3", b"a", b"b", b"c"),
            *("。".encode(), "」".encode(), "”".encode(), "”".encode()[:2], "”".encode()[2:]),
        ]
    ),
    max_size=12,
)
UNITS = st.sampled_from([None, "sentence", "line", "paragraph"])
ENDINGS = st.lists(
    st.sampled_from(["ran", "n.", "\n\n", "\n", ". H", '"', "a", "b", "ab", "abc", "。」"]), max_size=3
)


@given(WORDS, UNITS, ENDINGS, st.booleans(), st.integers(0, 6))
@example([b"He", b" ran", b".", b" \n", b"He"], "sentence", [], True, 0)
@example([b"He", b"\r", b"\n", b"He"], "line", ["\n\n"], False, 2)
@example([b"He", b" ran", b"."], None, ["ran"], True, 3)
@example([b"He", b".", b"\n", b"\n", b"He"], "sentence", [], True, 0)
@example([b"He", "。".encode(), "」".encode(), b"He"], "sentence", [], False, 1)
@example([b"a", b"b", b"c"], None, ["abc", "b"], True, 1)
@example([b"He", b".", b"\n", b"He"], "sentence", ["\n"], True, 0)
def test_a_stream_ends_where_its_whole_text_does(
    tokens: list[bytes], unit: Unit | None, stop: list[str], keep: bool, least: int
) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    shortest = len(decoder.decode(b"".join(tokens[:least])))
    text = b"".join(tokens).decode(errors="replace")
    places = [
        (start, start + len(end)) for end in stop for start in range(len(text)) if text.startswith(end, start)
    ]
    places += plain_ends(text, unit) if unit else []
    allowed = [place for place in places if place[keep] >= shortest and len(tokens) >= least]
    first = min(allowed, default=None)
    stream = TextStream(tokens.__getitem__, stop, stop_at=unit, keep_stop=keep, min_tokens=least)
    assert "".join(pieces_of(tokens, stream)) == text[: first[keep] if first else None]
    assert stream.stopped == (first is not None)


def test_only_white_space_waits_for_the_end_of_a_sentence() -> None:
    tokens = [b'"Who?', b'"', b" ", b"said", b" he", b".", b"\n", b"She"]
    stream = TextStream(tokens.__getitem__, stop_at="sentence")
    assert list(pieces_of(tokens, stream)) == ['"Who?', '"', "", " said", " he", ".", "", "", ""]
    assert stream.stopped


def test_a_token_without_bytes_gives_no_text() -> None:
    assert list(pieces_of([b"", b"a", b""], stream_over([b"", b"a", b""]))) == ["", "a", "", ""]


def test_a_stop_string_is_found_as_soon_as_it_is_complete() -> None:
    stream = stream_over([b"one\n", b"\ntwo"], ["\n\n"])
    assert (stream.push(0), stream.stopped) == ("one", False)
    assert (stream.push(1), stream.stopped) == ("", True)
    assert (stream.push(0), stream.finish()) == ("", "")


def test_text_held_back_appears_when_no_stop_string_came_of_it() -> None:
    stream = stream_over([b"The e", b"agle", b" The"], ["The end", " Then"])
    assert [stream.push(0), stream.push(1), stream.push(2), stream.finish()] == ["", "The eagle", "", " The"]
    assert not stream.stopped


def test_a_stop_string_inside_a_longer_one_waits_for_it() -> None:
    stream = stream_over([b"abc", b"d"], ["bc", "abcd"])
    assert (stream.push(0), stream.stopped) == ("", False)
    assert (stream.push(1), stream.stopped) == ("", True)


def test_a_stop_string_inside_a_longer_one_counts_at_the_end() -> None:
    stream = stream_over([b"abc"], ["bc", "abcd"])
    assert (stream.push(0), stream.finish(), stream.stopped) == ("", "a", True)


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        stream_over([], ["a", ""])


REPEATED = ["word ", "a", " ", "\n", "?!", ")", ". . ! , ", "。」"]


@pytest.mark.slow
@pytest.mark.parametrize("least", [0, 999])
@pytest.mark.parametrize("unit", [None, "sentence", "line", "paragraph"])
@pytest.mark.parametrize("part", REPEATED, ids=repr)
def test_a_token_costs_no_more_the_longer_the_text_is(part: str, unit: Unit | None, least: int) -> None:
    token = (part * 200)[:200]
    # Neither comes, although the first begins everywhere.
    stops = [token[:9] + "z", "He ran.z"]

    def copied(count: int) -> int:
        tokens = [b"He ran.", *[token.encode()] * count]
        stream = TextStream(tokens.__getitem__, stops, stop_at=unit, min_tokens=least)
        return bytes_copied(partial(stream.push, number) for number in range(len(tokens)))

    assert copied(100) < 2.5 * copied(50)
