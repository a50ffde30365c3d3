"""A training text, and the logged losses of a run."""

from __future__ import annotations

import json
from pathlib import Path

POEM = "".join(
    f"The {animal} of {number} {color} hills\nsings softly when the evening stills,\n\n"
    for number in range(12)
    for animal in ("lark", "toad", "wren")
    for color in ("green", "grey", "blue")
)


def losses(folder: Path) -> list[tuple[int, float]]:
    """Return the losses that a run logged, in their order."""
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [(line["step"], line.get("loss", line.get("valid_loss"))) for line in lines]
