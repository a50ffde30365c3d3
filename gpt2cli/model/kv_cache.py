"""The keys and values of the positions that the decoder has already read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.ops.operations import A, LayerCache, Ops


class KVCache(Generic[A]):
    """The keys and values of every layer, each (batch, kv heads, capacity, head width), and their length.

    Raises:
        ValueError: the capacity exceeds the model's context.
    """

    def __init__(self, config: ModelConfig, ops: Ops[A], batch: int, capacity: int) -> None:
        if capacity > config.n_positions:
            raise ValueError(f"capacity {capacity} exceeds the context of {config.n_positions}")
        shape = (config.n_layer, 2, batch, config.kv_heads, capacity, config.head_width)
        held: Any = ops.empty(shape)
        self._config = config
        self._ops = ops
        self._keys: list[Any] = [layer[0] for layer in held]
        self._values: list[Any] = [layer[1] for layer in held]
        self.capacity = capacity
        self.length = 0

    def layer(self, layer: int, time: int) -> LayerCache[A]:
        """Return the cache of one layer, with room for `time` more positions.

        The length changes only in `advance`, so that every layer sees the same length.

        Raises:
            ValueError: the new positions do not fit.
        """
        end = self.length + time
        if end > self.capacity:
            raise ValueError(f"{end} positions do not fit a cache of {self.capacity}")
        return LayerCache(self._keys[layer], self._values[layer], self.length)

    def advance(self, time: int) -> None:
        """Add `time` positions, appended by every layer, to the length."""
        self.length += time

    def truncate(self, length: int) -> None:
        """Reduce the length to the first `length` positions.

        The others stay until they are overwritten, so `advance` can restore them.

        Raises:
            ValueError: `length` is negative or exceeds the current length.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate a cache of {self.length} positions to {length}")
        self.length = length

    def select(self, rows: Sequence[int]) -> KVCache[A]:
        """Return a copy with the given rows in the given order, repeats allowed."""
        chosen = KVCache(self._config, self._ops, len(rows), self.capacity)
        chosen.length = self.length
        for held, copies in ((self._keys, chosen._keys), (self._values, chosen._values)):
            for layer, copy in zip(held, copies, strict=True):
                # Unused memory stays untouched.
                copy[:, :, : self.length] = self._ops.select_rows(layer[:, :, : self.length], rows)
        return chosen
