"""The losses of a run as an SVG chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Point = tuple[float, float]

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 40, 44
MOST_POINTS = 400
TICKS = 5
STYLE = (
    "text{font:12px sans-serif;fill:#444}"
    ".grid{stroke:#ddd}"
    "polyline{fill:none;stroke-linejoin:round}"
    ".train{stroke:#9ab8d8;stroke-width:1.5}"
    ".valid{stroke:#c0392b;stroke-width:2}"
    "circle{fill:#c0392b}"
)


def loss_chart(records: Sequence[Mapping[str, Any]]) -> str:
    """Return an SVG chart of the losses by step, in nats per token, with a dot at the best held-out one."""
    train, valid = _thinned(_points(records, "loss")), _points(records, "valid_loss")
    frame = _Frame([*train, *valid] or [(0.0, 0.0)])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="Loss by step">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        *frame.grid(),
        frame.line("train", train),
        frame.line("valid", valid),
        *_legend(valid),
    ]
    if valid:
        x, y = frame.place(min(valid, key=lambda point: point[1]))
        parts.append(f'<circle cx="{x}" cy="{y}" r="4"/>')
    return "\n".join([*parts, "</svg>", ""])


class _Frame:
    """Map steps and losses to points of the chart."""

    def __init__(self, points: Sequence[Point]) -> None:
        steps, losses = zip(*points, strict=True)
        self.last = max(*steps, 1.0)
        self.spacing = _round_spacing((max(losses) - min(losses)) or 1.0)
        self.low = math.floor(min(losses) / self.spacing) * self.spacing
        self.high = max(math.ceil(max(losses) / self.spacing) * self.spacing, self.low + self.spacing)

    def place(self, point: Point) -> Point:
        x = LEFT + point[0] / self.last * (WIDTH - LEFT - RIGHT)
        y = TOP + (self.high - point[1]) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)
        return round(x, 1), round(y, 1)

    def line(self, kind: str, points: Sequence[Point]) -> str:
        places = " ".join("{},{}".format(*self.place(point)) for point in points)
        return f'<polyline class="{kind}" points="{places}"/>'

    def grid(self) -> list[str]:
        parts = []
        for number in range(round((self.high - self.low) / self.spacing) + 1):
            loss = self.low + number * self.spacing
            _, y = self.place((0, loss))
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{loss:g}</text>')
        spacing = max(1.0, _round_spacing(self.last))
        for number in range(int(self.last / spacing) + 1):
            x, _ = self.place((number * spacing, self.low))
            label = f"{number * spacing:,.0f}"
            parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label}</text>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">step</text>')
        return parts


def _legend(valid: Sequence[Point]) -> list[str]:
    best = min(valid, key=lambda point: point[1], default=None)
    held_out = "held out" if best is None else f"held out, best {best[1]:.4f} at step {best[0]:,.0f}"
    return [
        f'<text x="{LEFT}" y="22">Loss, nats a token</text>',
        '<polyline class="train" points="220,18 244,18"/><text x="250" y="22">training</text>',
        f'<polyline class="valid" points="320,18 344,18"/><text x="350" y="22">{held_out}</text>',
    ]


def _points(records: Sequence[Mapping[str, Any]], name: str) -> list[Point]:
    found = [(record["step"], record[name]) for record in records if name in record]
    return [point for point in found if math.isfinite(point[1])]


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Return the means of groups of neighbours, which keeps the file of a long run small."""
    size = math.ceil(len(points) / MOST_POINTS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], round(sum(loss for _, loss in group) / len(group), 4)) for group in groups]


def _round_spacing(span: float) -> float:
    """Return 1, 2 or 5 times a power of ten that divides a span into about TICKS parts."""
    power: float = 10.0 ** math.floor(math.log10(span / TICKS))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * TICKS >= span)
