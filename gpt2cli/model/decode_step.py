"""One step of decoding in static shapes, all of whose numbers are on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.kv_cache import Reading
from gpt2cli.model.kv_memory import KVMemory
from gpt2cli.model.model import Model
from gpt2cli.ops.device.choice import RowFilters, choose
from gpt2cli.ops.device.graphs import Graphs
from gpt2cli.ops.device.slot_cache import SlotCache
from gpt2cli.ops.device.transfer import Download, upload
from gpt2cli.ops.operations import LayerCache

# At most this many ids tie for the last place of a top-k of half of it.
FEW_CANDIDATES = 128
SHORTEST_LENGTH = 128
NO_SPANS = np.empty((0, 4), np.int64)


class StepRow(NamedTuple):
    """What a row reads and how its next token is chosen.

    Its newest id is `token`, or where that is negative the one chosen by the last step. It is read at
    `position` of the text.
    """

    token: int
    position: int
    temperature: float = 0.0
    top_k: int = 1
    top_p: float = 1.0
    log_min_p: float = -np.inf
    draw: float = 0.0


class DecodeStep:
    """Read one more id of each row in a slot of a KV memory and choose the ids that follow.

    A step is a function of three numbers, which decide its shapes: how many slots it computes, how many
    positions they see, and how many tokens may be chosen. Each is one of a few. Everything else is in tensors
    that stay where they are, so on CUDA each such step is captured in a graph.
    """

    def __init__(self, model: Model[Any], memory: KVMemory[Any]) -> None:
        self._model = model
        self._memory = memory
        self._device: torch.device = model.ops.device  # type: ignore[attr-defined]
        self._newest = torch.zeros(memory.slots, dtype=torch.long, device=self._device)
        # The fields of each row and where in the memory it writes; double precision holds them all.
        self._rows = torch.zeros(
            memory.slots, len(StepRow._fields) + 1, dtype=torch.float64, device=self._device
        )
        self._nobodys = np.array([*StepRow(0, 0), memory.positions], np.float64)
        if model.rotary:
            # What a graph reads must not move.
            model.rotary.reach(model.config.n_positions)
        self._logits = self._read
        if model.ops.compiled:  # type: ignore[attr-defined]
            # So tuned, a product of one row reads weights as fast as a GPU's memory allows.
            tuned: dict[str, Any] = {"coordinate_descent_tuning": self._device.type == "cuda"}
            self._logits = torch.compile(self._read, dynamic=False, options=tuned)
        self._run: Graphs[tuple[Tensor, Tensor]] = Graphs(self._compute, self._device)

    def launch(
        self, rows: dict[int, StepRow], scored: Sequence[int] = ()
    ) -> tuple[Download, Download | None]:
        """Queue a step of the rows in some slots; return the ids chosen in each slot, on their way here.

        With `scored`, the logits (scored, vocabulary) of these slots come too. No id below 0 is a token; see
        `choose`.
        """
        batch = _size(max(rows) + 1, 1, self._memory.slots)
        last = max(row.position for row in rows.values())
        length = _size(last + 1, SHORTEST_LENGTH, self._memory.slot)
        table = np.tile(self._nobodys, (batch, 1))
        for slot, row in rows.items():
            table[slot] = (*row, slot * self._memory.slot + row.position)
        self._rows[:batch].copy_(upload(table, self._device), non_blocking=True)
        scores, chosen = self._run(batch, length, self._candidates(rows))
        wanted = Download(scores[upload(np.array(scored), self._device)]) if scored else None
        return Download(chosen), wanted

    def _candidates(self, rows: dict[int, StepRow]) -> int:
        """Return how many tokens may be chosen, one of three numbers."""
        most = max(1 if row.temperature == 0.0 else row.top_k or np.inf for row in rows.values())
        vocabulary = self._model.config.vocab_size
        if most == 1:
            return 1
        return FEW_CANDIDATES if most <= FEW_CANDIDATES // 2 < vocabulary // 2 else vocabulary

    def _compute(self, batch: int, length: int, candidates: int) -> tuple[Tensor, Tensor]:
        table = self._rows[:batch]
        tokens, positions, writes = (table[:, column].long() for column in (0, 1, -1))
        tokens = torch.where(tokens < 0, self._newest[:batch], tokens)
        scores = self._logits(tokens, positions, writes, length)
        chosen = choose(scores, RowFilters(*table[:, 2:-1].unbind(1)), candidates)
        # What is no token cannot be read.
        self._newest[:batch] = chosen.clamp(min=0)
        return scores, chosen

    def _read(self, tokens: Tensor, positions: Tensor, writes: Tensor, length: int) -> Tensor:
        """Return the logits (rows, vocabulary) after one more token of each row."""
        reading = SlotReading(self._memory, positions, writes, length)
        scores: Tensor = logits(self._model, hidden_states(self._model, tokens[None], reading))
        return scores[0].float()


class SlotReading(Reading[Tensor]):
    """One new position of each of the first slots of a memory, at `positions` (rows,)."""

    def __init__(self, memory: KVMemory[Tensor], positions: Tensor, writes: Tensor, length: int) -> None:
        self._held = memory
        self._positions = positions
        self._writes = writes
        self._length = length
        self.end = length
        self.places: Any = positions
        self.outputs = slice(None)
        # The same in all layers with one window.
        self._masks: dict[int | None, Tensor] = {}

    def shifted(self, offset: int) -> Any:
        """Return the places in a table that has `offset` rows before its first position."""
        return self._positions + offset

    def past(self, number: int, is_last: bool) -> tuple[LayerCache[Tensor] | None, int]:
        """Return the past of a layer."""
        layer = self._held.layer(number, NO_SPANS)
        slots = self._held.slot, self._writes, self._mask
        return SlotCache(layer.keys, layer.values, layer.spans, *slots), 0

    def _mask(self, window: int | None) -> Tensor:
        if window in self._masks:
            return self._masks[window]
        keys = torch.arange(self._length, device=self._positions.device)
        last = self._positions[:, None]
        seen = keys <= last
        if window:
            seen = seen & (keys > last - window)
        dtype = self._held.layer(0, NO_SPANS).keys.dtype
        self._masks[window] = torch.where(seen, 0.0, -torch.inf).to(dtype)[:, None, None]
        return self._masks[window]


def _size(needed: int, least: int, most: int) -> int:
    """Return the least power of two that is enough, of those from `least` on, but at most `most`."""
    return min(max(least, 1 << (needed - 1).bit_length()), most)
