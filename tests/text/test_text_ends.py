"""Where sentences, lines and paragraphs end."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from plain_ends import plain_ends

from gpt2cli.text.streaming.text_ends import TextEnds, Unit

# What ends a sentence, a line or a paragraph, or only seems to, alone and in runs that are looked at in part.
PARTS = st.sampled_from(
    [*'a1JI.!…)_"\n\r\t ,。」彼\u3000\x1c', "Mr", "e.g", "\n\n", ". ", '."', "?!", ".\n1. J", "...?!J. A"]
)
UNITS = st.sampled_from(["sentence", "sentence", "line", "paragraph"])
RUNS = st.sampled_from([".", "!?", ")", "_", " ", "\n", " \n", "。", "」", "a", "1"]).flatmap(
    lambda part: st.sampled_from([2, 3, 63, 64, 65]).map(lambda count: part * count)
)


def text_ends(text: str, unit: Unit) -> list[tuple[int, int]]:
    return TextEnds(unit).push(text)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("He ran. She sat. We", "He ran."),
        ("He ran! She", "He ran!"),
        ("He ran?! She", "He ran?!"),
        ("He ran.\nShe", "He ran."),
        ("he ran.\nand fell. She", "he ran.\nand fell."),
        ('"Who is there?" said the king. He', '"Who is there?" said the king.'),
        ('"I am here." He left. She', '"I am here."'),
        ("“I am here.” “Where?” He", "“I am here.”"),
        ("(He ran.) She", "(He ran.)"),
        ("„Er lief.“ Sie", "„Er lief.“"),
        ("_He ran._ She", "_He ran._"),
        ("Mr. Fox and Dr. J. K. Hare came. They", "Mr. Fox and Dr. J. K. Hare came."),
        ("It was I. She", "It was I."),
        ("The U.S. Army, e.g. Bob, came. They", "The U.S. Army, e.g. Bob, came."),
        ("It cost 3.50 francs. She", "It cost 3.50 francs."),
        ("It was 1990. She", "It was 1990."),
        ("1. One is first. Two", "1. One is first."),
        ("Well... maybe. She", "Well... maybe."),
        ("Well... She", "Well..."),
        ("I ... I see. She", "I ... I see."),
        ('"Stop!" -- and he ran. She', '"Stop!" -- and he ran.'),
        ("Stop!—he ran. She", "Stop!—he ran."),
        (". Then", "."),
        (" and fell. She", " and fell."),
        ("CHAPTER I\n\nHe", "CHAPTER I"),
        ("彼は走った。彼女は", "彼は走った。"),
        ("「走った。」彼女は", "「走った。」"),
    ],
)
def test_the_first_sentence_ends_where_a_reader_would_say(text: str, first: str) -> None:
    assert text_ends(text, "sentence")[0] == (len(first), len(first))


@pytest.mark.parametrize(
    "text",
    [
        "He ran",
        "He ran.",
        'He ran."',
        "He ran. ",
        "He ran.\n",
        "He ran. and",
        "...",
        "彼は走った。",
        "「走った。」",
    ],
)
def test_a_sentence_whose_end_more_text_may_move_has_none_yet(text: str) -> None:
    assert not text_ends(text, "sentence")


def test_lines_end_at_newlines_and_paragraphs_at_blank_lines() -> None:
    text = "\n one\r\ntwo\n \t\nthree\n\n\nfour\n"
    assert [text[:start].split()[-1] for start, _ in text_ends(text, "line")][:2] == ["one", "two"]
    assert [(text[:start].split()[-1], text[start:end]) for start, end in text_ends(text, "paragraph")] == [
        ("two", "\n \t\n"),
        ("three", "\n\n"),
    ]


@pytest.mark.parametrize("unit", ["sentence", "line", "paragraph"])
def test_white_space_before_the_first_word_ends_nothing(unit: Unit) -> None:
    assert not text_ends("\n\n \n\n", unit)
    assert not text_ends("\n\n \n\nOne", unit)


@given(UNITS, st.lists(PARTS | RUNS, max_size=12), st.integers(1, 4))
@example("sentence", ["He ran。", "”", " J"], 1)
@example("sentence", ["a.", " ", "\n", "1. J"], 1)
@example("sentence", ["a", "...?!", "J. A"], 4)
def test_a_growing_text_ends_where_a_plain_search_of_the_whole_says(
    unit: Unit, parts: list[str], size: int
) -> None:
    text = "".join(parts)
    search = TextEnds(unit)
    ends = [end for start in range(0, len(text), size) for end in search.push(text[start : start + size])]
    assert sorted(ends) == text_ends(text, unit) == plain_ends(text, unit)
    start, _ = search.first_to_come
    # What is still to come is not before the end of what stands there without white space.
    assert len(text.rstrip()) <= start <= len(text)
