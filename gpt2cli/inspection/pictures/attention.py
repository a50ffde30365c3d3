"""Attention as pictures: all heads small, or one head with its words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gpt2cli.inspection.attention import Attention, HeadRow, Pattern
from gpt2cli.inspection.passage import Passage
from gpt2cli.inspection.pictures.grid import Bitmap, Box, Picture
from gpt2cli.inspection.settings import HeadName
from gpt2cli.scoring.pictures.canvas import COLUMN, LINE

LABEL = 3
# Of a small picture, and of a token in a large one.
WIDEST, WIDEST_TOKEN = 9, 3
WORD = 14
GAP = 0.25
LEGEND = (0.0, 0.06, 0.25, 0.56, 1.0)
# A head is named for a trait if it has this much of it.
MARKED = 0.5


def overview(attention: Attention, model: str, columns: int, *, whole_cells: bool = False) -> Picture:
    """Return all heads, a line of small pictures for each layer; in a terminal they fill whole cells."""
    heads = [HeadName(row.layer, row.head) for row in attention.heads]
    across = max(head.head for head in heads) + 1
    step = min((columns - LABEL - 1) / across, WIDEST + 1)
    width = step - GAP
    height = width * COLUMN / LINE
    if whole_cells:
        step = max(int(step), 1)
        width, height = max(step - 1, 1), max(round(step / 2), 1)
    down = height + (1 if whole_cells and height > 1 else 0 if whole_cells else GAP)
    boxes = [Box(LABEL + 1 + number * step, 0, step, str(number)) for number in range(across)]
    bitmaps = []
    for row, head in zip(attention.heads, heads, strict=True):
        line = 1 + head.layer * down
        if head.head == 0:
            boxes.append(Box(0, line + (height - 1) / 2 * (not whole_cells), LABEL, f"{head.layer:>{LABEL}}"))
        place = LABEL + 1 + head.head * step
        bitmaps.append(Bitmap(place, line, width, height, attention.thumbnails[head], head_note(row)))
    line = 1 + (heads[-1].layer + 1) * down + GAP * (not whole_cells)
    patches, labels = _legend(line, columns)
    title = f"{model}: attention of all heads, a line for each layer. Lower in a square are later tokens."
    return Picture(title, columns, line + 1, [*boxes, *labels], [*bitmaps, *patches])


def head_picture(attention: Attention, head: HeadName, model: str, columns: int) -> Picture:
    """Return one head: each line is a token, shaded where it looks; its word ends the line and its column."""
    passage, pattern = attention.passage, attention.pattern
    assert pattern is not None
    time = len(pattern)
    cell = min((columns - WORD - 1) / time, WIDEST_TOKEN)
    if cell >= 1:
        cell = int(cell)
    boxes = [Box((place + 1) * cell + 1, place, WORD, text) for place, text in enumerate(passage.texts)]
    bitmaps = [
        Bitmap(0, place, (place + 1) * cell, 1, pattern[place : place + 1, : place + 1], note)
        for place, note in enumerate(_notes(passage, pattern))
    ]
    patches, labels = _legend(time + 1, columns)
    title = f"{model}: attention of head {head}. The line before a token shows where it looks."
    return Picture(title, columns, time + 2, [*boxes, *labels], [*bitmaps, *patches])


def head_note(row: HeadRow) -> str:
    """Return a head's number and traits on one line."""
    traits = [f"head {row.layer}.{row.head}"]
    if row.distance is not None:
        traits += [f"distance {row.distance:.1f}", f"first {row.first:.1%}", f"previous {row.previous:.1%}"]
    if row.induction is not None:
        traits.append(f"induction {row.induction:.1%}")
    return ", ".join(traits)


def strongest(heads: Sequence[HeadRow]) -> Iterator[tuple[str, list[HeadRow]]]:
    """Yield what heads are known for, with the heads that do it most, strongest first."""
    for name, value in (
        ("looks at the previous token", "previous"),
        ("looks at itself", "itself"),
        ("continues a repeat (induction)", "induction"),
        ("looks at the first token", "first"),
    ):
        found = [row for row in heads if (getattr(row, value) or 0.0) >= MARKED]
        yield name, sorted(found, key=lambda row: -getattr(row, value))


def _notes(passage: Passage, pattern: Pattern) -> Iterator[str]:
    for place, row in enumerate(pattern):
        order = np.argsort(-row, kind="stable")[: min(3, place + 1)]
        looks = ", ".join(f"{passage.texts[key]!r} {row[key]:.1%}" for key in order.tolist())
        yield f"{passage.texts[place]!r} looks at {looks}"


def _legend(line: float, columns: int) -> tuple[list[Bitmap], list[Box]]:
    step = min(8, columns // len(LEGEND))
    bitmaps = [
        Bitmap(place * step, line, step - 5, 1, np.full((1, 1), share, np.float32))
        for place, share in enumerate(LEGEND)
    ]
    labels = [Box(place * step + step - 5, line, 5, f" {share:.0%}") for place, share in enumerate(LEGEND)]
    return bitmaps, labels
