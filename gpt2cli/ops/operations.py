"""The handful of array operations that the decoder needs, one file per backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

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


@dataclass(frozen=True, eq=False, repr=False)
class StoredTensor:
    """Hold a tensor as its file stores it; `dtype` is safetensors' name, BF16 comes as uint16.

    A matrix in 8 bits comes in the panels of the compiled kernels, with a scale a column and its true shape;
    where it has totals, the sums of its columns, the rows it is multiplied with may be rounded to 8 bits too.

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


@dataclass(eq=False, repr=False)
class LayerCache(Generic[A]):
    """Hold keys and values of one layer, (batch, heads, capacity, head width), `length` of them computed."""

    keys: A
    values: A
    length: int

    def append(self, keys: A, values: A) -> tuple[A, A]:
        """Store (batch, heads, time, head width) behind what is there; return all, past and new."""
        end = self.length + keys.shape[2]
        held: tuple[Any, Any] = (self.keys, self.values)
        held[0][:, :, self.length : end] = keys
        held[1][:, :, self.length : end] = values
        return held[0][:, :, :end], held[1][:, :, :end]


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
    # Why a GPU that is here computes nothing, where auto would have chosen it; else empty.
    unused_gpu: str

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

    def linear(self, x: A, weight: A, bias: A, activation: str | None = None, residual: A | None = None) -> A:
        """Return x @ weight + bias, with weight of shape (in, out) as GPT-2 stores it.

        The activation that config.json calls so is applied to that, and then the residual added.
        """

    def head(self, x: A, table: A, top: int | None = None) -> A:
        """Return x @ table.T, with table of shape (vocabulary, width).

        Where nobody needs more than the `top` highest of each row, others may be minus infinity.
        """

    def attention(
        self, qkv: A, heads: int, scale: float, past: LayerCache[A] | None = None, first: int = 0
    ) -> A:
        """Attend causally with the queries, keys and values of qkv, (batch, time, 3 * width).

        Query i sees what the past holds and the keys up to i, which are stored there; the result has the
        shape (batch, time - first, width), as the queries before position `first` are left out.
        """

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
