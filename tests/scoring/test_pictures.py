"""Pictures of surprisal, read back by parsers of their formats."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gpt2cli.errors import UsageError
from gpt2cli.scoring.pictures.shaded_text import html_page, png_image, svg_drawing
from gpt2cli.scoring.pictures.shading import FULL_SHADE, PALETTE, Part, Shaded, lines_of, parts_of, shade
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
    """Collect the text of <pre> and the colors of its spans."""

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
    assert reader.text.removeprefix("\n") == CONTENT.replace("\r", "")
    assert reader.notes == [part.note for part in PARTS]


@pytest.mark.slow
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
    assert reader.text.removeprefix("\n") == CONTENT.replace("\r", "")
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


def test_an_image_has_the_colors_of_its_parts() -> None:
    with Image.open(io.BytesIO(png_image([Part("aaaa", 0.0), Part("bbbb", 100.0)], TITLE))) as image:
        assert image.format == "PNG"
        colors = {color for _, color in image.getcolors(1 << 20) or ()}
    assert {shade(0.0), PALETTE[-1]} <= colors


def test_an_image_of_a_book_is_refused() -> None:
    with pytest.raises(UsageError, match="a PNG image fits 1,000"):
        png_image([Part("\n" * 1_001, 1.0)], TITLE)


def test_parts_join_to_the_content_and_halves_of_a_character_show_once() -> None:
    content = "a 🙂 b\n"
    stretches = [Shaded(0, 1, 1.0, ""), Shaded(1, 3, 2.0, ""), Shaded(2, 3, 3.0, ""), Shaded(3, 5, 4.0, "")]
    parts = list(parts_of(content, stretches))
    assert "".join(part.text for part in parts) == content
    assert [(part.text, part.bits) for part in parts] == [("a", 1.0), (" 🙂", 2.0), (" b", 4.0), ("\n", None)]


TEXTS = st.lists(st.text(st.sampled_from("ab \t\n日。é\u0301"), min_size=1, max_size=12), max_size=30)


@given(TEXTS, st.integers(2, 20))
def test_lines_keep_to_the_width_and_lose_nothing_but_white_space(texts: list[str], width: int) -> None:
    lines = list(lines_of(map(Part, texts), width))
    for line in lines:
        position = 0.0
        for placed in line:
            assert placed.position == position
            assert placed.width == cell_width(placed.part.text)
            position += placed.width
        assert position <= width
    shown = "".join(placed.part.text for line in lines for placed in line)
    assert "".join(shown.split()) == "".join("".join(texts).split())


@given(TEXTS)
def test_lines_with_room_are_those_of_the_text(texts: list[str]) -> None:
    content = "".join(texts)
    lines = ["".join(placed.part.text for placed in line) for line in lines_of(map(Part, texts), 10_000)]
    assert "\n".join(lines) == content.removesuffix("\n").replace("\t", "    ")


@pytest.mark.parametrize(
    ("texts", "width", "lines"),
    [
        # A word that a line has room for is not broken, and neither line has the space between them.
        (["one", " tw", "o"], 6, [["one"], ["tw", "o"]]),
        (["one", " ", " two"], 6, [["one"], ["two"]]),
        (["one", " two"], 7, [["one", " two"]]),
        (["  one", "\n", "  two"], 5, [["  one"], ["  two"]]),
        (["one two"], 5, [["one"], ["two"]]),
        (["日本。", "語"], 5, [["日"], ["本。"], ["語"]]),
        (["abcdefg"], 3, [["abc"], ["def"], ["g"]]),
        (["a\r", "\nb\r\n", "c\rd"], 9, [["a"], ["b"], ["c\N{REPLACEMENT CHARACTER}d"]]),
    ],
)
def test_lines_are_broken_between_words(texts: list[str], width: int, lines: list[list[str]]) -> None:
    broken = lines_of(map(Part, texts), width)
    assert [[placed.part.text for placed in line if placed.part.text] for line in broken] == lines


@pytest.mark.slow
@given(st.lists(st.text(st.characters()), max_size=5))
def test_every_text_has_pictures(texts: list[str]) -> None:
    parts = [Part(text, 1.0, "1 bit") for text in texts]
    with Image.open(io.BytesIO(png_image(parts, TITLE))) as image:
        assert image.format == "PNG"
    ElementTree.fromstring(svg_drawing(parts, TITLE))
    TextOfPre().feed(html_page(parts, TITLE).decode())


JOINED = "👨\u200d👩\u200d👧"
ODD = ["a\r\nb", "\r", "\ufeffa", JOINED, "a\u200bb", "\u2029", "שלום", "e\u0301"]


@pytest.mark.parametrize("text", ODD)
def test_every_part_of_such_a_text_has_an_image(text: str) -> None:
    for parts in ([Part(text, 1.0)], [Part(character, 1.0) for character in text]):
        with Image.open(io.BytesIO(png_image(parts, TITLE))) as image:
            assert image.format == "PNG"


# What fonts lack, join, reorder or give no width.
PIECES = [
    *("a", " ", "\t", "\r\n", "\n", "\r", "\0", "\x1b[31m", "\xad", "\ufeff", "\u200b", "\u200c", "\u200d"),
    *(
        JOINED,
        "🏳\ufe0f\u200d🌈",
        "e\u0301",
        "日本",
        "שלום",
        "क्षि",
        "\u2029",
        "\u202e",
        "\ufffe",
        "\U0010ffff",
    ),
]


@pytest.mark.slow
def test_texts_of_what_is_hard_to_draw_have_pictures() -> None:
    draw = Random(1)
    for _ in range(150):
        text = "".join(draw.choices(PIECES, k=draw.randint(1, 30)))
        size = draw.randint(1, 3)
        parts = [Part(text[place : place + size], 3.0, "3 bits") for place in range(0, len(text), size)]
        with Image.open(io.BytesIO(png_image(parts, TITLE))) as image:
            assert image.format == "PNG"
        ElementTree.fromstring(svg_drawing(parts, TITLE))
        TextOfPre().feed(html_page(parts, TITLE).decode())


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium or Chrome")
def test_a_browser_paints_no_space_where_it_breaks_a_line(tmp_path: Path) -> None:
    def picture(text: str) -> bytes:
        parts = [Part(word, 100.0) for word in re.split("(?<=word)", text) if word]
        page, shot = tmp_path / "page.html", tmp_path / "page.png"
        page.write_bytes(html_page(parts, TITLE) + b"<style>pre { width: 52ch }</style>")
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
        command = [str(BROWSER), *arguments, f"--screenshot={shot}", page.as_uri()]
        subprocess.run(command, capture_output=True, check=True, timeout=60)
        with Image.open(shot) as image:
            return image.convert("RGB").tobytes()

    line = " ".join(["word"] * 10)
    assert picture(f"{line} {line} {line}") == picture(f"{line}\n{line}\n{line}")


def test_shades_grow_from_the_first_color_to_the_last() -> None:
    assert shade(0.0) == PALETTE[0]
    assert shade(FULL_SHADE) == shade(10 * FULL_SHADE) == PALETTE[-1]
    greens = [shade(FULL_SHADE * step / 50)[1] for step in range(51)]
    assert greens == sorted(greens, reverse=True)
