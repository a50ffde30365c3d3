"""What two models make of a text, as a picture: the text, and the largest differences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from gpt2cli.inspection.difference import Difference, TokenDifference, largest
from gpt2cli.inspection.pictures.grid import Box, Picture
from gpt2cli.scoring.pictures.shading import Placed, Shaded, lines_of, parts_of
from gpt2cli.scoring.settings import Unit

# In bits; larger ones look the same.
FULL_DIFFERENCE, FULL_DIVERGENCE = 8.0, 4.0
LISTED = 8
BARS = " ▁▂▃▄▅▆▇█"
# Columns of the list, at most: the text, and each number.
TEXT, NUMBER = 16, 10
LEGEND = (-1.0, -0.5, 0.0, 0.5, 1.0)


def difference_picture(
    content: str,
    rows: Sequence[Difference],
    names: tuple[str, str],
    unit: Unit,
    columns: int,
    *,
    signs: bool,
) -> Picture:
    """Return the text shaded by the differences of surprisal, with the largest ones listed below.

    Bars below the text are divergences. With signs, differences are also written below it, for a terminal
    without colors.
    """
    scale = 1.0 if unit == "bits" else 1.0 / math.log(2)
    stretches = [Shaded(row.start, row.end, 0.0, str(number)) for number, row in enumerate(rows)]
    has_divergences = any(isinstance(row, TokenDifference) for row in rows)
    boxes: list[Box] = []
    line = 0
    for placed_line in lines_of(parts_of(content, stretches), columns):
        for placed in placed_line:
            row = rows[int(placed.part.note)] if placed.part.note else None
            boxes += _boxes(placed, row, line, unit, scale, signs)
        line += 1 + signs + has_divergences
    line += 1
    listed = largest(rows, LISTED)
    boxes += _list(listed, line, unit, scale, columns)
    line += len(listed) + 2
    width = min(9, columns // len(LEGEND))
    boxes += [
        Box(step * width, line, width, f" {share * FULL_DIFFERENCE:+g}", share)
        for step, share in enumerate(LEGEND)
    ]
    return Picture(_title(names, has_divergences), columns, line + 1, boxes)


def _boxes(
    placed: Placed, row: Difference | None, line: int, unit: Unit, scale: float, signs: bool
) -> Iterator[Box]:
    level = _level(row, scale)
    note = "" if row is None else _note(row, unit)
    yield Box(placed.position, line, placed.width, placed.part.text, level, note)
    width = int(placed.width)
    if signs and level is not None:
        share = round(min(abs(level), 1.0) * (len(BARS) - 1))
        sign = " " if not share else "+" if level > 0 else "-"
        yield Box(placed.position, line + 1, width, sign + BARS[share] * (width - 1))
    if isinstance(row, TokenDifference):
        bar = _bar((row.kl_divergence or 0.0) * scale / FULL_DIVERGENCE)
        yield Box(placed.position, line + 1 + signs, width, bar * width)


def _list(rows: Sequence[Difference], line: int, unit: Unit, scale: float, columns: int) -> Iterator[Box]:
    number = min(NUMBER, (columns - 9) // 3)
    text = min(TEXT, columns - 3 * number - 1)
    for place, header in enumerate(("first", "second", "change")):
        yield Box(text + place * number, line, number, f"{header:>{number - 1}}")
    for row in rows:
        line += 1
        yield Box(0, line, text - 1, row.text)
        for place, value in enumerate((row.surprisal_1, row.surprisal_2)):
            yield Box(text + place * number, line, number, f"{value:{number - 1}.2f}")
        change = f"{row.difference:+{number - 1}.2f}"
        yield Box(text + 2 * number, line, number + 1, change, _level(row, scale), _note(row, unit))


def _level(row: Difference | None, scale: float) -> float | None:
    if row is None or row.difference is None:
        return None
    return max(-1.0, min(row.difference * scale / FULL_DIFFERENCE, 1.0))


def _bar(share: float) -> str:
    return BARS[round(min(share, 1.0) * (len(BARS) - 1))]


def _note(row: Difference, unit: Unit) -> str:
    if row.difference is None:
        return f"{row.text!r}: not scored"
    note = f"{row.text!r}: {row.surprisal_1:.2f} and {row.surprisal_2:.2f} {unit}, {row.difference:+.2f}"
    if isinstance(row, TokenDifference) and row.kl_divergence is not None:
        note += f"; divergence {row.kl_divergence:.2f} {unit}"
    return note


def _title(names: tuple[str, str], has_divergences: bool) -> str:
    title = f"From {names[0]} to {names[1]}: blue is less surprising, red is more, in bits."
    bars = f" Bars: divergence of predictions, full at {FULL_DIVERGENCE:g} bits." if has_divergences else ""
    return title + bars
