"""The handful of array operations that the decoder needs, one file per backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np


class Shaped(Protocol):
    """Stand for an array of any backend."""

    @property
    def shape(self) -> tuple[int, ...]: ...


A = TypeVar("A", bound=Shaped)
Storage = Literal["float16", "bfloat16", "int8"]
# Returns the rows of a matrix that are asked for by whole numbers.
ReadRows: TypeAlias = "Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]"


@dataclass(frozen=True)
class StoredTensor:
    """Hold a tensor as its file stores it; `dtype` is safetensors' name, BF16 comes as uint16.

    A matrix in 8 bits comes in the panels of the compiled kernels, with a scale a column and its true shape;
    where it has totals, the sums of its columns, what it is multiplied with may be rounded to 8 bits too.

    `read_rows` reads rows of a matrix from its file, where a memory map would hold all that is around them.
    A head may have a screen: itself in 8 bits.
    """

    dtype: str
    array: np.ndarray[Any, Any]
    scales: np.ndarray[Any, Any] | None = None
    totals: np.ndarray[Any, Any] | None = None
    packed_shape: tuple[int, ...] = ()
    read_rows: ReadRows | None = None
    screen: StoredTensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the tensor, whatever the layout of its numbers."""
        return self.packed_shape or self.array.shape


class Ops(Protocol[A]):
    """Compute on the arrays `A` of one backend.

    In the shapes, `time` counts the new positions and `past` those that a cache already holds.
    """

    name: str
    device_name: str
    dtype_name: str
    # The type that a checkpoint's matrices are converted to; None leaves them as they are stored.
    storage: Storage | None
    # Whether the screen of a head spares reading it.
    uses_screens: bool

    def weight(self, tensor: StoredTensor) -> A:
        """Return a stored tensor as an array of the backend, without a copy where it can."""

    def table(self, tensor: StoredTensor) -> A:
        """Return a stored matrix for `embed` and `head`, of which single rows are read."""

    def token_ids(self, ids: Sequence[Sequence[int]]) -> A:
        """Return rows of equal length as whole numbers of shape (batch, time)."""

    def to_numpy(self, x: A) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return an array as float32 in main memory."""

    def empty(self, shape: tuple[int, ...]) -> A:
        """Return an array of the type that activations have, whose numbers mean nothing yet."""

    def embed(self, tokens: A, positions: A, ids: A, start: int) -> A:
        """Return tokens[ids] + positions[start : start + time], of shape (batch, time, width)."""

    def layer_norm(self, x: A, weight: A, bias: A, epsilon: float) -> A:
        """Normalize each row of (batch, time, width) to mean 0 and variance 1, then scale and shift."""

    def linear(self, x: A, weight: A, bias: A) -> A:
        """Return x @ weight + bias, with weight of shape (in, out) as GPT-2 stores it."""

    def head(self, x: A, table: A, top: int | None = None) -> A:
        """Return x @ table.T, with table of shape (vocabulary, width).

        Where nobody needs more than the `top` highest of each row, others may be minus infinity.
        """

    def split_heads(self, qkv: A, heads: int) -> tuple[A, A, A]:
        """Cut (batch, time, 3 * width) into queries, keys, values of (batch, heads, time, head width)."""

    def merge_heads(self, x: A) -> A:
        """Join (batch, heads, time, head width) into (batch, time, width)."""

    def attention(self, queries: A, keys: A, values: A, scale: float) -> A:
        """Attend causally: query i of `time` sees the first past + i + 1 keys; shape of queries."""

    def activation(self, name: str, x: A) -> A:
        """Apply the activation that config.json calls `name`."""

    def add(self, residual: A, update: A) -> A:
        """Return residual + update."""

    def token_statistics(
        self,
        logits: A,
        targets: np.ndarray[Any, np.dtype[np.int64]],
        word_starts: np.ndarray[Any, np.dtype[np.float32]] | None,
    ) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Tell how logits (time, vocabulary) predicted the targets (time,), as (4, time).

        The rows are log-probabilities and entropies in nats, ranks, and the log-probabilities of a token that
        has 1 in `word_starts`, of shape (vocabulary,); NaN without them. The logits may be overwritten.
        """

    def tail(self, x: A, first: int) -> A:
        """Return the positions from `first` on, counted from the end if negative, of (..., time, width)."""

    def select_rows(self, x: A, rows: Sequence[int]) -> A:
        """Return x[rows] along the first axis, as a copy."""
