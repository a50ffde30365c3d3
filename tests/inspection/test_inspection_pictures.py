"""Pictures of what is inside a model, read back by parsers of their formats, with hostile text in them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from inspected_models import saved
from PIL import Image

from gpt2cli.cli.output.inspection.terminal_grid import grid_lines
from gpt2cli.errors import UsageError
from gpt2cli.inspection.attention import Attention
from gpt2cli.inspection.difference import Comparison
from gpt2cli.inspection.lens import Lens
from gpt2cli.inspection.pictures.attention import head_picture, overview, strongest
from gpt2cli.inspection.pictures.difference import difference_picture
from gpt2cli.inspection.pictures.grid import COLUMNS, Bitmap, Box, Picture, box_color, ink_colors
from gpt2cli.inspection.pictures.lens import MOST_LAYERS, lens_picture
from gpt2cli.inspection.pictures.rendering import MOST_IMAGE_LINES, html_page, png_image, svg_drawing
from gpt2cli.inspection.settings import DiffSettings, HeadName, LensSettings, PassageSettings
from gpt2cli.scoring.pictures.canvas import COLUMN, FONT_SIZE, MARGIN
from gpt2cli.text.cells import cell_width

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</title><script>x\x1b[2J\r\n日本語🙂\u202eab\t&\"'"
NAME = f"model{HOSTILE}"
# A column of a paper, and the height of text that is still read.
COLUMN_OF_PAPER, LEAST_POINTS = 80 / 25.4 * 72, 5.5


def pictures(columns: int = COLUMNS, *, whole_cells: bool = False) -> dict[str, Picture]:
    """Return a picture of each kind, of a hostile text."""
    model = saved("gpt2").load()
    text = HOSTILE[:14]
    attention = Attention(model, text, PassageSettings(), HeadName(1, 2))
    rows = list(Lens(model, text, LensSettings()).rows())
    one = list(Lens(model, text, LensSettings(positions=[-1], top=5)).rows())
    compared = Comparison((model, saved("gpt2", seed=1).load()), text, DiffSettings())
    signs = {"signs": whole_cells}
    return {
        "lens": lens_picture(rows, NAME, "bits", columns),
        "one position": lens_picture(one, NAME, "bits", columns),
        "overview": overview(attention, NAME, columns, whole_cells=whole_cells),
        "head": head_picture(attention, HeadName(1, 2), NAME, columns),
        "difference": difference_picture(text, compared.rows(), (NAME, NAME), "bits", columns, **signs),
        "hostile": Picture(
            NAME,
            columns,
            2,
            [Box(0, 0, min(50, columns), HOSTILE, 0.5, HOSTILE), Box(0, 1, 9, "日本語日本語")],
        ),
    }


KINDS = ("lens", "one position", "overview", "head", "difference", "hostile")


@pytest.fixture(scope="module")
def drawn() -> dict[str, Picture]:
    return pictures()


@pytest.mark.parametrize("kind", KINDS)
def test_a_drawing_is_read_by_a_parser_and_holds_its_text_inside_its_boxes(
    drawn: dict[str, Picture], kind: str
) -> None:
    picture = drawn[kind]
    root = ElementTree.fromstring(svg_drawing(picture))
    _, _, width, height = map(float, (root.get("viewBox") or "").split())
    assert FONT_SIZE * COLUMN_OF_PAPER / width >= LEAST_POINTS
    texts = list(root.iter(f"{SVG}text"))
    shown = [box.shown.strip() for box in picture.boxes if box.shown.strip()]
    assert [text.text for text in texts] == [*shown, *picture.title_lines()]
    for text in texts:
        assert float(text.get("x", "nan")) + float(text.get("textLength", "nan")) <= width - MARGIN / 2
        assert float(text.get("y", "nan")) <= height
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        "svg",
        "title",
        "rect",
        "text",
        "image",
    }
    assert all(element.get("href", "data:").startswith("data:") for element in root.iter())
    assert root.findtext(f"{SVG}title")


class Tags(HTMLParser):
    """Collect the tags of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_has_no_script_and_nothing_from_elsewhere(drawn: dict[str, Picture], kind: str) -> None:
    page = html_page(drawn[kind]).decode()
    reader = Tags()
    reader.feed(page)
    assert reader.tags <= {"html", "meta", "title", "style", "svg", "rect", "text", "image"}
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert re.findall(r"https?://[^\"]*", page) == ["http://www.w3.org/2000/svg"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_has_the_size_of_its_grid(drawn: dict[str, Picture], kind: str) -> None:
    picture = drawn[kind]
    with Image.open(io.BytesIO(png_image(picture))) as image:
        assert image.format == "PNG"
        assert image.size[0] == round((2 * MARGIN + COLUMNS * COLUMN) * 2)
        colors = {color for _, color in image.convert("RGB").getcolors(1 << 20) or ()}
    levels = [box.level for box in picture.boxes if box.level is not None]
    assert {box_color(level) for level in levels} <= colors


@pytest.mark.parametrize("columns", [30, 80, 200])
@pytest.mark.parametrize("colored", [True, False])
def test_a_terminal_shows_no_line_wider_than_itself_and_no_escape_of_the_text(
    columns: int, colored: bool
) -> None:
    for kind, picture in pictures(columns, whole_cells=True).items():
        lines = list(grid_lines(picture, colored))
        plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
        assert "\x1b" not in "".join(plain)
        assert "\r" not in "".join(plain)
        assert max(map(cell_width, plain)) <= columns, kind


def test_shades_of_a_terminal_without_colors_grow_with_the_values() -> None:
    values = np.array([[0.0, 0.06, 0.25, 0.56, 1.0]], np.float32)
    (line, *_) = grid_lines(Picture("", 5, 1, (), [Bitmap(0, 0, 5, 1, values)]), False)
    assert line == " ░▒▓█"
    assert [tuple(color) for color in ink_colors(values)[0][[0, -1]].tolist()] == [
        (255, 255, 255),
        (8, 48, 107),
    ]


def deep_rows(layers: int) -> Iterator[Any]:
    model = saved("gpt2").load()
    (row, *_) = Lens(model, "a", LensSettings(positions=[1])).rows()
    for layer in range(layers):
        yield type(row)(**{**vars(row), "layer": layer})


def test_a_heat_map_of_a_deep_model_fits_a_slide() -> None:
    picture = lens_picture(list(deep_rows(49)), "deep", "bits", COLUMNS)
    labels = [box.shown.strip() for box in picture.boxes if box.column == 0]
    assert len(labels) == MOST_LAYERS
    assert (labels[0], labels[-1]) == ("48", "0")
    height = picture.lines * 26 + 2 * MARGIN
    assert height <= (COLUMNS * COLUMN + 2 * MARGIN)


def test_every_layer_that_is_asked_for_is_shown_if_they_fit() -> None:
    picture = lens_picture(list(deep_rows(13)), "deep", "bits", COLUMNS)
    labels = [box.shown.strip() for box in picture.boxes if box.column == 0]
    assert labels == [str(layer) for layer in range(12, -1, -1)]


def test_an_image_of_a_book_is_refused() -> None:
    with pytest.raises(UsageError, match="a PNG image fits 1,000"):
        png_image(Picture("", COLUMNS, MOST_IMAGE_LINES + 1))


def test_heads_are_named_for_what_they_do() -> None:
    attention = Attention(saved("gpt2").load(), "one two", PassageSettings())
    rows = [
        type(row)(**{**vars(row), "previous": 0.2 * row.head, "first": 0.0}) for row in attention.heads[:4]
    ]
    named = dict(strongest(rows))
    assert [row.head for row in named["looks at the previous token"]] == [3]
    assert named["looks at the first token"] == []
