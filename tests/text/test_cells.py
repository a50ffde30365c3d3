"""The width of text, against rich's, and the positions where lines may break."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from gpt2cli.text.cells import cell_width, crop, may_break, shorten

LETTERS = "abc é\u0301日本語カナ한글🙂…█—Ω"


@given(st.text(st.sampled_from(LETTERS)))
def test_columns_are_those_that_rich_counts(text: str) -> None:

    assert cell_width(text) == cell_len(text)


@given(st.text(st.sampled_from(LETTERS)), st.integers(1, 12))
def test_shortened_text_fits_and_keeps_what_fits(text: str, width: int) -> None:
    for short in (shorten(text, width), crop(text, width)):
        assert cell_width(short) <= width
        assert short == text or "…" in short
        assert cell_width(text) > width or short == text


def test_a_path_keeps_its_beginning_and_more_of_its_end() -> None:
    assert shorten("/home/me/.cache/hub/models--gpt2", 16) == "/home…dels--gpt2"
    assert crop("/home/me/.cache/hub/models--gpt2", 16) == "/home/me/.cache…"


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("ab", False),
        ("日本", True),
        ("日a", True),
        ("a日", True),
        ("日。", False),
        ("「日", False),
        ("日\u0301", False),
        ("\u200d👩", False),
        ("👍🏽", False),
        ("한글", True),
    ],
)
def test_lines_end_beside_wide_characters_but_not_before_what_belongs_to_them(
    pair: str, expected: bool
) -> None:
    assert may_break(*pair) is expected
