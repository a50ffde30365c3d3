"""The keys and values of texts that lie in slots of one size, for steps whose shapes never change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpt2cli.ops.operations import A, LayerCache


@dataclass(eq=False, repr=False)
class SlotCache(LayerCache[A]):
    """The keys and values of one layer, where the texts in the first slots have one new position each.

    Slot `i` begins at position `i * slot`. The new keys and values go to the positions `writes` (rows,). Row
    `i` attends to the beginning of slot `i`: `mask(window)`, (rows, 1, 1, length), is 0 where it sees a
    position, and else minus infinity. There are no spans.
    """

    slot: int
    writes: A
    mask: Callable[[int | None], A]
