"""The predictions of layers as a heat map: a column for each token, a line for each layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpt2cli.inspection.lens import LensRow
from gpt2cli.inspection.pictures.grid import Box, Picture

# With more layers, a picture would not fit a slide.
MOST_LAYERS = 13
LABEL = 3
LEAST_WIDTH = 7
GAP = 0.1
LEGEND = (0.0, 0.25, 0.5, 0.75, 1.0)


def lens_picture(rows: Sequence[LensRow], model: str, unit: str, columns: int) -> Picture:
    """Return a heat map whose shades are the probabilities of the tokens shown, the last layer on top.

    A single position has a column for each of its likeliest tokens. Several have one each, for the
    likeliest, and continue below where they do not fit.
    """
    layers = _spread(sorted({row.layer for row in rows}, reverse=True))
    positions = sorted({row.index for row in rows})
    places = max(row.place for row in rows) if len(positions) == 1 else 1
    cells = {(row.layer, row.index, row.place): row for row in rows}
    headers = [(index, place) for index in positions for place in range(1, places + 1)]
    room = columns - LABEL - 1
    count = min(max(1, room // LEAST_WIDTH), len(headers))
    width = min(room // count, 12)
    boxes: list[Box] = []
    line = 0
    for first in range(0, len(headers), count):
        block = headers[first : first + count]
        for column, (index, place) in enumerate(block):
            start = LABEL + 1 + column * width
            came = cells[layers[0], index, 1].text
            boxes.append(Box(start, line, width - 1, _header(came, place, places)))
            for number, layer in enumerate(layers, 1):
                row = cells[layer, index, place]
                shade = row.prediction_probability
                boxes.append(
                    Box(start, line + number, width - GAP, _short(row.prediction), shade, _note(row, unit))
                )
        boxes += [Box(0, line + number, LABEL, f"{layer:>{LABEL}}") for number, layer in enumerate(layers, 1)]
        line += len(layers) + 2
    boxes += _legend(line, columns)
    what = "tokens that came on top" if places == 1 else f"token {positions[0]}"
    return Picture(f"{model}: what each layer predicts, {what}", columns, line + 1, boxes)


def _spread(layers: Sequence[int]) -> Sequence[int]:
    """Return at most `MOST_LAYERS` layers, the first and the last among them."""
    if len(layers) <= MOST_LAYERS:
        return layers
    return [layers[number * (len(layers) - 1) // (MOST_LAYERS - 1)] for number in range(MOST_LAYERS)]


def _header(came: str | None, place: int, places: int) -> str:
    if places > 1:
        return f"{place}."
    return "?" if came is None else _short(came)


def _note(row: LensRow, unit: str) -> str:
    note = f"layer {row.layer}: {row.prediction_probability:.1%} {row.prediction!r}"
    if row.surprisal is not None:
        note += f"; came {row.text!r}: rank {row.rank}, {row.surprisal:.2f} {unit}"
    return f"{note}; entropy {row.entropy:.2f} {unit}"


def _legend(line: int, columns: int) -> Iterator[Box]:
    width = min(6, (columns - LABEL - 1) // len(LEGEND))
    for step, share in enumerate(LEGEND):
        yield Box(LABEL + 1 + step * width, line, width, f" {share:.0%}", share)


def _short(text: str) -> str:
    """Return a token's text without the word that marks bytes, which would fill a cell."""
    return text.removeprefix("bytes:")
