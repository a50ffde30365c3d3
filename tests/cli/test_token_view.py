"""The token view: every token is visible and the text stays readable."""

from __future__ import annotations

import re
from array import array
from html.parser import HTMLParser

import pytest
from bpe_oracles import TEXTS
from gpt2_tokenizer import TOKENIZER
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.cli.output.token_view import Cell, Cells, TerminalView, draw_html


def cells_of(ids: list[int]) -> list[Cell]:
    cells = Cells(TOKENIZER.open_decoder)
    return [*cells.add(array("I", ids[:3])), *cells.add(array("I", ids[3:])), *cells.end()]


def draw(text: str, color: bool) -> str:
    view = TerminalView(color)
    return "".join(map(view.draw, cells_of(TOKENIZER.encode(text)))) + view.end()


@given(st.lists(st.integers(0, 50256)))
def test_each_token_has_a_cell_and_the_cells_hold_the_text(ids: list[int]) -> None:
    cells = cells_of(ids)
    assert [cell.token_id for cell in cells] == ids
    data = "".join(cell.text for cell in cells).encode("utf-8", "surrogateescape")
    assert data == b"".join(cell.data for cell in cells) == TOKENIZER.decode(ids)


def test_a_character_shows_in_the_token_where_it_begins() -> None:
    assert [cell.text for cell in cells_of(TOKENIZER.encode("a 👍🏽!"))] == [
        "a",
        " 👍",
        "",
        "🏽",
        "",
        "",
        "!",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Hello world", "Hello│ world\n"),
        ("你\n\nb\tc", "你│…│↵\n↵\nb│⇥│c\n"),
        ("", ""),
        ("a\n", "a│↵\n"),
        ("\x1b[31m", "\\x1b│[│31│m\n"),
        ("\u202ea", "\\u202e│…│a\n"),
    ],
)
def test_without_color_a_line_stands_between_tokens(text: str, shown: str) -> None:
    assert draw(text, color=False) == shown


def test_with_color_tokens_are_shaded_by_turns_and_never_across_a_line_end() -> None:
    shown = draw("Hello world\n\nx", color=True)
    shades = re.findall(r"\x1b\[([\d;]+)m([^\x1b]*)\x1b\[0m", shown)
    assert [text for _, text in shades] == ["Hello", " world", "↵", "↵", "x"]
    assert [shades[0][0] == shade for shade, _ in shades] == [True, False, True, False, True]
    assert re.sub(r"\x1b\[[\d;]+m", "", shown) == "Hello world↵\n↵\nx\n"


class Spans(HTMLParser):
    """Collect the text and the tooltips of a page, as a browser would."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.tooltips: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "span":
            self.tooltips.append(dict(attrs)["title"])

    def handle_data(self, data: str) -> None:
        self.text += data


@given(TEXTS)
def test_html_holds_the_text_and_each_id(text: str) -> None:
    ids = TOKENIZER.encode(text)
    spans = Spans()
    spans.feed("".join(map(draw_html, cells_of(ids))))
    spans.close()
    assert [int((tooltip or "").partition(":")[0]) for tooltip in spans.tooltips] == ids
    if text.replace("\n", "").replace("\t", "").isprintable():
        assert spans.text == text


def test_html_shows_markup_as_text_and_bytes_of_parts_of_characters() -> None:
    drawn = "".join(map(draw_html, cells_of(TOKENIZER.encode('<b>&" 👍'))))
    assert "&lt;" in drawn
    assert "<b>" not in drawn
    assert "&quot;" in drawn
    assert 'title="50169: 20 f0 9f 91"' in drawn
