"""Rows whose tokens a device chooses, a step ahead of what is known here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from gpt2cli.generation.row import Row
from gpt2cli.model.decode_step import DecodeStep, StepRow
from gpt2cli.model.kv_memory import KVMemory
from gpt2cli.model.model import Model
from gpt2cli.ops.device.transfer import Download


class _Launched(NamedTuple):
    """The rows of a step, by their slots, and the ids that it chooses."""

    rows: dict[int, Row]
    ids: Download


class Ahead:
    """Decode rows in steps of static shapes, each queued before the ids of the one before are here.

    A row that has ended meanwhile took one step too many, whose id is dropped. Rows whose choices depend on
    their ids, and those with log-probabilities, take part in the steps, but wait for their scores.
    """

    def __init__(self, model: Model[Any], memory: KVMemory[Any]) -> None:
        self._step = DecodeStep(model, memory)
        self._context = model.config.n_positions
        self._memory = memory
        self._launched: _Launched | None = None

    def takes(self, row: Row) -> bool:
        """Return whether a row is decoded here: it has a whole slot, and needs no more than that."""
        slot, text = self._memory.slot, row.text
        fits = text.capacity <= slot and text.begin + slot <= self._memory.positions
        return fits and not row.request.settings.speculate

    def step(self, rows: Sequence[Row]) -> list[tuple[Row, int]]:
        """Queue a step of all rows that can take one, and return the ids that the step before has chosen.

        Rows that wait for their scores have them then.
        """
        before, self._launched = self._launched, self._launch(rows)
        if not before:
            return []
        ids, present = before.ids.wait().tolist(), set(rows)
        found = [(row, ids[slot]) for slot, row in before.rows.items() if row in present]
        for row, _ in found:
            row.coming -= 1
        return found

    def _launch(self, rows: Sequence[Row]) -> _Launched | None:
        ready = {row.text.begin // self._memory.slot: row for row in rows if self._can_go_on(row)}
        if not ready:
            return None
        late = {slot: row for slot, row in ready.items() if not row.waits_for_scores}
        scored = [slot for slot in ready if slot not in late]
        ids, scores = self._step.launch({slot: _step_row(row) for slot, row in ready.items()}, scored)
        for slot, row in ready.items():
            row.text.length += 1
            row.coming += slot in late
        if scores:
            for slot, found in zip(scored, scores.wait(), strict=True):
                ready[slot].scores.append(found)
        return _Launched(late, ids) if late else None

    def _can_go_on(self, row: Row) -> bool:
        if not self.takes(row) or row.unread != 1 or row.text.length == self._context:
            return False
        if row.coming and row.waits_for_scores:
            return False
        return row.made + row.coming < row.request.settings.max_tokens


def _step_row(row: Row) -> StepRow:
    token, position = -1 if row.coming else row.ids[-1], row.text.length
    if row.waits_for_scores:
        return StepRow(token, position)
    settings = row.request.sampler.settings
    if settings.temperature == 0.0:
        return StepRow(token, position)
    draw = row.draws.at(row.made + row.coming)
    log_min_p = math.log(settings.min_p) if settings.min_p else -math.inf
    return StepRow(token, position, settings.temperature, settings.top_k, settings.top_p, log_min_p, draw)
