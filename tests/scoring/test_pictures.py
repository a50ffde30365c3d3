"""Pictures of surprisal, read back by the readers of their formats."""

from __future__ import annotations

import io
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gpt2cli.errors import UsageError
from gpt2cli.scoring.pictures import html_page, png_image, svg_drawing
from gpt2cli.scoring.shading import FULL_SHADE, PALETTE, Part, Shaded, lines_of, parts_of, shade
from gpt2cli.text.cells import cell_width

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
SVG = "{http://www.w3.org/2000/svg}"
TITLE = 'stories, bits, "with" <BOS> & more'
CONTENT = 'He said: "<b>Tab\there</b>" & left.\r\n\n日本語 🙂 naïve\n' + "long" * 40
PARTS = [
    Part(CONTENT[start : start + 3], bits, f"{bits} bits & <more>")
    for bits, start in enumerate(range(0, len(CONTENT), 3))
]


class TextOfPre(HTMLParser):
    """Collect the text of <pre> and the colours of its spans."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.notes: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = self._inside or tag == "pre"
        if self._inside and tag == "span":
            self.notes.append(dict(attrs)["title"] or "")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.text += data


def test_a_page_holds_the_text_and_what_is_told_of_each_part() -> None:
    reader = TextOfPre()
    reader.feed(html_page(PARTS, TITLE).decode())
    assert reader.text.removeprefix("\n") == CONTENT.replace("\r", "\N{REPLACEMENT CHARACTER}")
    assert reader.notes == [part.note for part in PARTS]


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium or Chrome")
def test_a_browser_reads_the_text_and_what_is_told_of_each_part(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_bytes(html_page(PARTS, TITLE))
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom"]
    shown = subprocess.run(
        [str(BROWSER), *arguments, page.as_uri()], capture_output=True, check=True, timeout=60
    )
    reader = TextOfPre()
    reader.feed(shown.stdout.decode())
    assert reader.text.removeprefix("\n") == CONTENT.replace("\r", "\N{REPLACEMENT CHARACTER}")
    assert reader.notes == [part.note for part in PARTS]


def test_a_drawing_holds_every_word_inside_its_shade() -> None:
    root = ElementTree.fromstring(svg_drawing(PARTS, TITLE))
    assert root.findtext(f"{SVG}title") == TITLE
    texts = [text for text in root.iter(f"{SVG}text") if text.get("textLength")]
    shown = "".join(text.text or "" for text in texts)
    assert "".join(shown.split()) == "".join(CONTENT.split())
    width = float((root.get("viewBox") or "").split()[2])
    for text in texts:
        assert float(text.get("x", "nan")) + float(text.get("textLength", "nan")) <= width
    shades = {rect.get("fill") for rect in root.iter(f"{SVG}rect")}
    assert "#{:02x}{:02x}{:02x}".format(*shade(0.0)) in shades
    assert "#{:02x}{:02x}{:02x}".format(*PALETTE[-1]) in shades


def test_an_image_has_the_colours_of_its_parts() -> None:
    with Image.open(io.BytesIO(png_image([Part("aaaa", 0.0), Part("bbbb", 100.0)], TITLE))) as image:
        assert image.format == "PNG"
        colors = {color for _, color in image.getcolors(1 << 20) or ()}
    assert {shade(0.0), PALETTE[-1]} <= colors


def test_an_image_of_a_book_is_refused() -> None:
    with pytest.raises(UsageError, match="an image holds 1,000"):
        png_image([Part("\n" * 1_001, 1.0)], TITLE)


def test_parts_join_to_the_content_and_halves_of_a_character_show_once() -> None:
    content = "a 🙂 b\n"
    stretches = [Shaded(0, 1, 1.0, ""), Shaded(1, 3, 2.0, ""), Shaded(2, 3, 3.0, ""), Shaded(3, 5, 4.0, "")]
    parts = list(parts_of(content, stretches))
    assert "".join(part.text for part in parts) == content
    assert [(part.text, part.bits) for part in parts] == [("a", 1.0), (" 🙂", 2.0), (" b", 4.0), ("\n", None)]


@given(
    st.lists(st.text(st.sampled_from("ab \n日é\u0301"), min_size=1, max_size=12), max_size=30),
    st.integers(2, 20),
)
def test_lines_keep_to_the_width_and_lose_nothing_but_line_ends(texts: list[str], width: int) -> None:
    lines = list(lines_of(map(Part, texts), width))
    for line in lines:
        position = 0.0
        for placed in line:
            assert placed.position == position
            position += cell_width(placed.part.text)
        assert position <= width
    shown = "".join(placed.part.text for line in lines for placed in line)
    assert shown == "".join(texts).replace("\n", "")


def test_a_word_is_not_broken_where_a_line_of_its_own_can_hold_it() -> None:
    lines = [[placed.part.text for placed in line] for line in lines_of(map(Part, ["one", " tw", "o"]), 6)]
    assert lines == [["one"], [" tw", "o"]]


def test_shades_grow_from_the_first_colour_to_the_last() -> None:
    assert shade(0.0) == PALETTE[0]
    assert shade(FULL_SHADE) == shade(10 * FULL_SHADE) == PALETTE[-1]
    greens = [shade(FULL_SHADE * step / 50)[1] for step in range(51)]
    assert greens == sorted(greens, reverse=True)
