"""A picture on a grid as an HTML page, an SVG drawing or a PNG image, each in one file."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from gpt2cli.errors import UsageError
from gpt2cli.inspection.pictures.grid import Bitmap, Box, Picture, box_color, ink_colors
from gpt2cli.scoring.pictures.canvas import (
    COLUMN,
    FONT_FAMILY,
    FONT_SIZE,
    INK,
    LINE,
    MARGIN,
    PAPER,
    SCALE,
    escape,
    hex_color,
    image_font,
)
from gpt2cli.text.cells import cell_width

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from gpt2cli.scoring.pictures.canvas import Font

# Drawing an image of this size takes about 250 MB.
MOST_IMAGE_LINES = 1_000
# A bitmap of a long text has more values than a picture can show.
MOST_PIXELS = 512
# Bitmaps of at most this many values are drawn as rectangles, which stay sharp everywhere.
FEW_VALUES = 64
BASELINE = 8
FRAME = (187, 187, 187)

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ margin: 1rem auto; max-width: 60rem; background: #fff; }}
svg {{ display: block; width: 100%; height: auto; }}
svg rect:hover, svg image:hover {{ outline: 2px solid #111; }}
</style>
{svg}"""


def html_page(picture: Picture) -> bytes:
    """Return an HTML page with the drawing, whose notes are shown on hovering."""
    return PAGE.format(title=escape(picture.title), svg="\n".join(_svg_lines(picture))).encode()


def svg_drawing(picture: Picture) -> bytes:
    """Return an SVG drawing in a fixed-width font."""
    return "\n".join(_svg_lines(picture)).encode()


def png_image(picture: Picture) -> bytes:
    """Return a PNG image; characters missing from the font appear as boxes.

    Raises:
        UsageError: the picture has more lines than an image can hold.
    """
    from PIL import Image, ImageDraw

    width, height = _size(picture)
    if height > MOST_IMAGE_LINES * LINE:
        raise UsageError(
            f"The picture has {height // LINE:,.0f} lines; a PNG image fits {MOST_IMAGE_LINES:,}.",
            "Use .html or .svg.",
        )
    image = Image.new("RGB", (round(width * SCALE), round(height * SCALE)), PAPER)
    draw, font = ImageDraw.Draw(image), image_font(FONT_SIZE * SCALE)
    for bitmap in picture.bitmaps:
        _paste(image, draw, bitmap)
    for box in [*picture.boxes, *_title_boxes(picture)]:
        _draw_box(draw, font, box)
    return _png(image)


RENDERERS: Mapping[str, Callable[[Picture], bytes]] = {
    "html": html_page,
    "svg": svg_drawing,
    "png": png_image,
}


def _size(picture: Picture) -> tuple[float, float]:
    lines = picture.lines + 0.5 + len(list(picture.title_lines()))
    return 2 * MARGIN + picture.columns * COLUMN, 2 * MARGIN + lines * LINE


def _title_boxes(picture: Picture) -> Iterator[Box]:
    for number, line in enumerate(picture.title_lines()):
        yield Box(0, picture.lines + 0.5 + number, picture.columns, line)


def _svg_lines(picture: Picture) -> Iterator[str]:
    width, height = _size(picture)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'font-family="{FONT_FAMILY}" font-size="{FONT_SIZE}" fill="{hex_color(INK)}">'
    )
    yield f"<title>{escape(picture.title)}</title>"
    yield f'<rect width="100%" height="100%" fill="{hex_color(PAPER)}"/>'
    yield from map(_svg_bitmap, picture.bitmaps)
    yield from map(_svg_box, [*picture.boxes, *_title_boxes(picture)])
    yield "</svg>\n"


def _svg_box(box: Box) -> str:
    x, top = MARGIN + box.column * COLUMN, MARGIN + box.line * LINE
    drawn = ""
    if box.level is not None:
        drawn = (
            f"<rect {_svg_area(x, top, box.width * COLUMN, LINE - 2)} "
            f'fill="{hex_color(box_color(box.level))}">{_svg_note(box.note)}</rect>'
        )
    text = box.shown.strip()
    if not text:
        return drawn
    indent = cell_width(box.shown[: box.shown.index(text)])
    # With any font, the text must stay within its box.
    return drawn + (
        f'<text x="{x + indent * COLUMN:g}" y="{top + LINE - BASELINE:g}" '
        f'textLength="{COLUMN * cell_width(text):g}" lengthAdjust="spacingAndGlyphs" xml:space="preserve" '
        f'pointer-events="none">{escape(text)}</text>'
    )


def _svg_bitmap(bitmap: Bitmap) -> str:
    x, y = MARGIN + bitmap.column * COLUMN, MARGIN + bitmap.line * LINE
    width, height = bitmap.width * COLUMN, bitmap.height * LINE
    frame = _svg_area(x, y, width, height)
    if bitmap.values.size > FEW_VALUES:
        data = b64encode(_png(_bitmap_image(bitmap))).decode()
        drawn = (
            f'<image {frame} preserveAspectRatio="none" style="image-rendering:pixelated" '
            f'href="data:image/png;base64,{data}">{_svg_note(bitmap.note)}</image>'
        )
        return f'{drawn}<rect {frame} fill="none" stroke="{hex_color(FRAME)}" pointer-events="none"/>'
    rows, columns = bitmap.values.shape
    step, down = width / columns, height / rows
    cells = (
        (_svg_area(x + place * step, y + row * down, step, down), (red, green, blue))
        for row, line in enumerate(ink_colors(bitmap.values).tolist())
        for place, (red, green, blue) in enumerate(line)
    )
    drawn = "".join(f'<rect {area} fill="{hex_color(color)}"/>' for area, color in cells)
    hovered = f'<rect {frame} fill="none" stroke="{hex_color(FRAME)}" pointer-events="all">'
    return f"{drawn}{hovered}{_svg_note(bitmap.note)}</rect>"


def _svg_area(x: float, y: float, width: float, height: float) -> str:
    return f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'


def _svg_note(note: str) -> str:
    return f"<title>{escape(note)}</title>" if note else ""


def _draw_box(draw: ImageDraw, font: Font, box: Box) -> None:
    x, top = (MARGIN + box.column * COLUMN) * SCALE, (MARGIN + box.line * LINE) * SCALE
    width = box.width * COLUMN * SCALE
    if box.level is not None:
        draw.rectangle((x, top, x + width - 1, top + (LINE - 2) * SCALE - 1), box_color(box.level))
    text, room = box.shown, width
    # The font may be wider than the grid.
    while text and font.getlength(text) > room + COLUMN:
        text = text[:-1]
    draw.text((x, top + (LINE - BASELINE) * SCALE), text, INK, font, anchor="ls")


def _paste(image: Image, draw: ImageDraw, bitmap: Bitmap) -> None:
    x, top = (MARGIN + bitmap.column * COLUMN) * SCALE, (MARGIN + bitmap.line * LINE) * SCALE
    size = (max(round(bitmap.width * COLUMN * SCALE), 1), max(round(bitmap.height * LINE * SCALE), 1))
    from PIL.Image import Resampling

    image.paste(_bitmap_image(bitmap).resize(size, Resampling.NEAREST), (round(x), round(top)))
    draw.rectangle((round(x), round(top), round(x) + size[0], round(top) + size[1]), outline=FRAME)


def _bitmap_image(bitmap: Bitmap) -> Image:
    from PIL import Image

    return Image.fromarray(ink_colors(bitmap.pooled(MOST_PIXELS, MOST_PIXELS)))


def _png(image: Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()
