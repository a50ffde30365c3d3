"""The keys and values of the positions that the decoder has already seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.ops.operations import A, LayerCache, Ops


class KVCache(Generic[A]):
    """Hold keys and values of shape (batch, heads, capacity, head width) a layer, with a length.

    Raises:
        ValueError: capacity is beyond the model's context.
    """

    def __init__(self, config: ModelConfig, ops: Ops[A], batch: int, capacity: int) -> None:
        if capacity > config.n_positions:
            raise ValueError(f"capacity {capacity} is beyond the context of {config.n_positions}")
        shape = (config.n_layer, 2, batch, config.n_head, capacity, config.head_width)
        held: Any = ops.empty(shape)
        self._config = config
        self._ops = ops
        self._keys: list[Any] = [layer[0] for layer in held]
        self._values: list[Any] = [layer[1] for layer in held]
        self.capacity = capacity
        self.length = 0

    def layer(self, layer: int, time: int) -> LayerCache[A]:
        """Return what a layer has seen, with room for `time` positions behind it.

        The length stays as it was until `advance`, so that every layer sees the same one.

        Raises:
            ValueError: the new positions do not fit.
        """
        end = self.length + time
        if end > self.capacity:
            raise ValueError(f"{end} positions do not fit a cache of {self.capacity}")
        return LayerCache(self._keys[layer], self._values[layer], self.length)

    def advance(self, time: int) -> None:
        """Count `time` positions, appended by every layer, as past."""
        self.length += time

    def truncate(self, length: int) -> None:
        """Count only the first `length` positions as past.

        The others stay until new ones overwrite them, so that `advance` can count them as past again.

        Raises:
            ValueError: the length is negative or beyond what is held.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"a cache of {self.length} positions has no first {length}")
        self.length = length

    def select(self, rows: Sequence[int]) -> KVCache[A]:
        """Return a copy that holds the given rows in the given order; a row may come repeatedly."""
        chosen = KVCache(self._config, self._ops, len(rows), self.capacity)
        chosen.length = self.length
        for held, copies in ((self._keys, chosen._keys), (self._values, chosen._values)):
            for layer, copy in zip(held, copies, strict=True):
                # Memory that holds nothing yet stays untouched.
                copy[:, :, : self.length] = self._ops.select_rows(layer[:, :, : self.length], rows)
        return chosen
