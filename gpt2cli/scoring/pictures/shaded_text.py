"""Text shaded by surprisal as a self-contained HTML page, SVG drawing or PNG image."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from gpt2cli.errors import UsageError
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
from gpt2cli.scoring.pictures.shading import Part, Placed, legend, lines_of, printable_parts, shade
from gpt2cli.text.cells import cell_width

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

    from gpt2cli.scoring.pictures.canvas import Font

COLUMNS = 80
SWATCH = 42
# Drawing an image of this size takes about 250 MB.
MOST_IMAGE_LINES = 1_000

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ margin: 2rem auto; max-width: 44rem; padding: 0 1rem; background: #fff; color: #111; }}
pre {{ font: 1rem/1.8 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }}
pre span {{ padding: .2em 0; border-radius: .15em; }}
pre span:hover {{ outline: 2px solid; }}
pre i {{ white-space: normal; }}
p span {{ padding: .2em .6em; }}
</style>
<pre>{text}</pre>
<p>{legend}</p>
<p>{title}</p>
"""


def html_page(parts: Sequence[Part], title: str) -> bytes:
    """Return an HTML page that shows the surprisal of each part as a tooltip."""
    spans, last = [], "\n"
    for part in printable_parts(parts):
        spans.append(_span(part, last.isspace()))
        last = part.text[-1:] or last
    swatches = " ".join(
        f'<span style="background:{hex_color(shade(bits))}">{label}</span>' for bits, label in legend()
    )
    # HTML drops a newline right after <pre>.
    text = "\n" + "".join(spans)
    return PAGE.format(title=html.escape(title), text=text, legend=swatches).encode()


def svg_drawing(parts: Sequence[Part], title: str) -> bytes:
    """Return an SVG drawing in a fixed-width font, 80 columns wide."""
    lines = list(lines_of(parts, COLUMNS))
    width = 2 * MARGIN + COLUMNS * COLUMN
    height = 2 * MARGIN + (len(lines) + 3) * LINE
    drawn = [_svg_part(placed, MARGIN + row * LINE) for row, line in enumerate(lines) for placed in line]
    top = MARGIN + (len(lines) + 1) * LINE
    for step, (bits, label) in enumerate(legend()):
        x = MARGIN + step * 2 * SWATCH
        drawn.append(
            f'<rect x="{x}" y="{top}" width="{2 * SWATCH}" height="{LINE}" fill="{hex_color(shade(bits))}"/>'
        )
        drawn.append(f'<text x="{x + 6}" y="{top + LINE - 8}">{label}</text>')
    drawn.append(f'<text x="{MARGIN}" y="{top + 2 * LINE - 4}">{escape(title)}</text>')
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" '
            f'font-family="{FONT_FAMILY}" '
            f'font-size="{FONT_SIZE}" fill="{hex_color(INK)}">',
            f"<title>{escape(title)}</title>",
            f'<rect width="100%" height="100%" fill="{hex_color(PAPER)}"/>',
            *drawn,
            "</svg>\n",
        ]
    ).encode()


def png_image(parts: Sequence[Part], title: str) -> bytes:
    """Return a PNG image; characters missing from the font appear as boxes.

    Raises:
        UsageError: the text has more lines than an image can hold.
    """
    from PIL import Image, ImageDraw

    font = image_font(FONT_SIZE * SCALE)
    width = COLUMNS * COLUMN * SCALE
    lines = list(lines_of(parts, width, cache(font.getlength)))
    if len(lines) > MOST_IMAGE_LINES:
        raise UsageError(
            f"The text has {len(lines):,} lines; a PNG image fits {MOST_IMAGE_LINES:,}.",
            "Use .html or .svg.",
        )
    size = (int(width) + 2 * MARGIN * SCALE, (2 * MARGIN + (len(lines) + 3) * LINE) * SCALE)
    image = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        for placed in line:
            _draw_part(draw, font, placed, (MARGIN + row * LINE) * SCALE)
    top = (MARGIN + (len(lines) + 1) * LINE) * SCALE
    for step, (bits, label) in enumerate(legend()):
        swatch = Part(label, bits)
        _draw_part(draw, font, Placed(swatch, step * 2 * SWATCH * SCALE, 2 * SWATCH * SCALE), top)
    _draw_part(draw, font, Placed(Part(title), 0, 0), top + LINE * SCALE)
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def _span(part: Part, after_space: bool) -> str:
    text = escape(part.text)
    if not after_space and part.text[:1] == " " and not part.text[1:2].isspace():
        # HTML drops this space, shade included, at a line break.
        text = f"<i> </i>{text[1:]}"
    if part.bits is None:
        return text
    color = hex_color(shade(part.bits))
    return f'<span style="background:{color}" title="{html.escape(part.note)}">{text}</span>'


def _svg_part(placed: Placed, top: float) -> str:
    part, x, width = placed.part, MARGIN + placed.position * COLUMN, placed.width * COLUMN
    drawn = ""
    if part.bits is not None:
        drawn = (
            f'<rect x="{x:g}" y="{top:g}" width="{width:g}" height="{LINE - 2}" '
            f'fill="{hex_color(shade(part.bits))}"><title>{html.escape(part.note)}</title></rect>'
        )
    text = part.text.strip()
    if not text:
        return drawn
    x += COLUMN * cell_width(part.text[: part.text.index(text)])
    # With any font, the text must stay within its shade.
    return drawn + (
        f'<text x="{x:g}" y="{top + LINE - 8:g}" textLength="{COLUMN * cell_width(text):g}" '
        f'lengthAdjust="spacingAndGlyphs" xml:space="preserve" pointer-events="none">{escape(text)}</text>'
    )


def _draw_part(draw: ImageDraw, font: Font, placed: Placed, top: float) -> None:
    x = MARGIN * SCALE + placed.position
    # Part of a joined emoji may have zero width.
    if placed.part.bits is not None and placed.width >= 1:
        box = (x, top, x + placed.width - 1, top + (LINE - 2) * SCALE)
        draw.rectangle(box, fill=shade(placed.part.bits))
    draw.text((x, top + (LINE - 8) * SCALE), placed.part.text, INK, font, anchor="ls")
