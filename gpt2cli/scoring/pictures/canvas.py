"""What pictures share: measures of a fixed-width font, colors, fonts, and text made safe for a format."""

from __future__ import annotations

import html
from contextlib import suppress
from typing import TYPE_CHECKING

from gpt2cli.text.printable import replaced

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

Color = tuple[int, int, int]

FONT_SIZE = 16
# Of a fixed-width font: the width of a column and the height of a line.
COLUMN = 9.6
LINE = 26
MARGIN = 20
INK: Color = (17, 17, 17)
PAPER: Color = (255, 255, 255)
# Pixels per unit of the measures above, so that pictures print sharply.
SCALE = 2
FONTS = ("DejaVuSansMono.ttf", "Menlo.ttc", "consola.ttf")
FONT_FAMILY = "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"


def image_font(size: int) -> Font:
    """Return a fixed-width font for images, or Pillow's own if this machine has none of the known ones."""
    from PIL import ImageFont

    for name in FONTS:
        with suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def escape(text: str) -> str:
    """Return text escaped for HTML and XML, without control characters but tab and newline."""
    return html.escape(replaced(text))


def hex_color(color: Color) -> str:
    """Return a color as HTML and SVG spell it."""
    return "#{:02x}{:02x}{:02x}".format(*color)
