"""Lines and workers for tests: what a run answers, as objects."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from typing import Any

from gpt2cli.serving.lines import Answer, AsTheyFinish, InOrder, Line, LineWorker, answer_lines


class ListFeed:
    """Lines that are all there."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = deque(lines)

    @property
    def ended(self) -> bool:
        return not self._lines

    def take(self, wait: bool) -> Line | None:
        return self._lines.popleft() if self._lines else None


def json_lines(objects: Iterable[Any]) -> list[Line]:
    return [Line(number, json.dumps(value).encode()) for number, value in enumerate(objects, 1)]


def run_lines(worker: LineWorker, lines: Iterable[Line], *, unordered: bool = False) -> list[dict[str, Any]]:
    """Return the lines that are written, parsed."""
    written: list[Answer] = []
    order = (AsTheyFinish if unordered else InOrder)(worker.lines_ahead)
    answer_lines(ListFeed(lines), worker, written.append, order)
    return [json.loads(answer.data) for answer in written]
