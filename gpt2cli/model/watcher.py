"""What may be seen of a forward pass while it runs."""

from __future__ import annotations

from typing import Protocol, TypeVar

# An array, which a watcher only reads.
A = TypeVar("A", contravariant=True)


class Watcher(Protocol[A]):
    """A reader of what each block takes in; its arrays may be overwritten after a call."""

    def residual(self, layer: int, x: A) -> None:
        """See the residual stream (batch, time, width) before block `layer`.

        The last one, whose number is that of the blocks, is what the final norm reads.
        """

    def attention(self, layer: int, queries: A, keys: A, scale: float, window: int | None) -> None:
        """See the queries (batch, time, heads, head width) and new keys (batch, time, kv heads, head width).

        Both are rotated if the family rotates them. Scores are multiplied by the scale before the softmax,
        and a query sees the last `window` keys, or all.
        """
