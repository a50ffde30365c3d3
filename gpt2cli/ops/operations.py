"""The array operations that the decoder needs, implemented in one module per backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np


class Shaped(Protocol):
    """An array of any backend."""

    @property
    def shape(self) -> tuple[int, ...]: ...


A = TypeVar("A", bound=Shaped)
Storage = Literal["float16", "bfloat16", "int8"]
# Returns the rows of a matrix at the given integer indices.
ReadRows: TypeAlias = "Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]"
# Positions along an axis: a range of them, or their numbers.
Places: TypeAlias = "slice | np.ndarray[Any, np.dtype[np.int64]]"


@dataclass(frozen=True, eq=False, repr=False)
class StoredTensor:
    """A tensor as stored in its file; `dtype` is the name in safetensors, and BF16 is stored as uint16.

    An int8 matrix comes in the panels of the compiled kernels, with one scale per column and its true shape.
    If it has totals, the sums of its columns, the rows multiplied by it may be rounded to 8 bits too.

    `read_rows` reads rows of a matrix from its file, because a memory map would keep the pages around them
    in memory. A head may have a screen, an int8 copy of it.
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
        """The shape of the tensor, regardless of its layout in memory."""
        return self.packed_shape or self.array.shape


@dataclass(eq=False, repr=False)
class LayerCache(Generic[A]):
    """The keys and values of one layer, (kv heads, positions, head width), and the rows that are read.

    A row of `spans` (rows, 4) has the place where a text begins in the cache, the number of its positions
    there, how many new ones follow them, and how many of these need no output.
    """

    keys: A
    values: A
    spans: np.ndarray[Any, np.dtype[np.int64]]

    def append(self, keys: A, values: A) -> Iterator[tuple[slice, slice, int]]:
        """Append new positions (kv heads, time, head width) of all rows side by side.

        Yield for each row its places among the new ones and in the cache, with the past, and how many
        outputs are skipped.
        """
        new: tuple[Any, Any] = (keys, values)
        held: tuple[Any, Any] = (self.keys, self.values)
        first = 0
        for begin, past, time, skipped in self.spans.tolist():
            there = slice(begin + past, begin + past + time)
            for into, part in zip(held, new, strict=True):
                into[:, there] = part[:, first : first + time]
            yield slice(first, first + time), slice(begin, begin + past + time), skipped
            first += time


class Ops(Protocol[A]):
    """The operations on the arrays `A` of one backend.

    In shapes, `time` is the number of new positions.
    """

    name: str
    device_name: str
    dtype_name: str
    # The type that a checkpoint's matrices are converted to; None keeps their stored type.
    storage: Storage | None
    # Whether the backend uses the screen of a head.
    uses_screens: bool
    # Of a number of an activation, in bytes.
    number_bytes: int
    # Why a GPU that is here computes nothing, where auto would have chosen it; else empty.
    unused_gpu: str
    # Whether a `DecodeStep` decodes, which also chooses the tokens.
    decodes_ahead: bool

    def free_memory(self) -> int | None:
        """Return the free bytes of a device with memory of its own, else None."""

    def expect_many_rows(self, free_memory: Callable[[], int]) -> None:
        """Expect many rows to be multiplied by the same weights often.

        A backend may then keep weights a second time, in a faster order, as far as `free_memory()` allows.
        """

    def weight(self, tensor: StoredTensor) -> A:
        """Return a stored tensor as an array of the backend, without copying if possible."""

    def table(self, tensor: StoredTensor) -> A:
        """Return a stored matrix for `embed` and `head`, whose rows can be read individually."""

    def token_ids(self, ids: Sequence[Sequence[int]]) -> A:
        """Return rows of equal length as an integer array (batch, time)."""

    def to_numpy(self, x: A) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return an array as float32 in main memory."""

    def empty(self, shape: tuple[int, ...]) -> A:
        """Return an uninitialized array of the activations' type, which takes memory as it is used."""

    def embed(self, tokens: A, positions: A | None, ids: A, places: Places) -> A:
        """Return tokens[ids] + positions[places], of shape (batch, time, width).

        Positions that enter elsewhere, as by `rotate`, are None.
        """

    def layer_norm(self, x: A, weight: A, bias: A | None, epsilon: float) -> A:
        """Normalize each row of (batch, time, width) to mean 0 and variance 1, then scale and shift."""

    def rms_norm(self, x: A, weight: A, epsilon: float) -> A:
        """Scale each row of (batch, time, width) to a mean square of 1, then by the weight.

        Zhang & Sennrich, "Root Mean Square Layer Normalization" (2019).
        """

    def linear(
        self,
        x: A,
        weight: A,
        bias: A | None,
        activation: str | None = None,
        residual: A | None = None,
        gate: A | None = None,
    ) -> A:
        """Return x @ weight + bias, with weight of shape (in, out).

        Its strides say how it is stored: most checkpoints but GPT-2's have (out, in), so it is a transpose.
        The activation, named as in config.json, is applied to the result, which is then multiplied by the
        gate, element by element; last, the residual is added.
        """

    def head(self, x: A, table: A, top: int | None = None) -> A:
        """Return x @ table.T, with table of shape (vocabulary, width).

        With `top`, only the `top` highest logits of each row are certain; others may be minus infinity.
        """

    def rotate(self, queries: A, keys: A, cosines: A, sines: A, neighbours: bool = False) -> tuple[A, A]:
        """Rotate queries and keys (batch, time, heads, head width), which may be overwritten.

        The first 2 * pairs numbers of a head are rotated by the angles whose cosines and sines (time, pairs)
        are given: each number of the first half with its counterpart in the second, as in GPT-NeoX and
        LLaMA, or with its neighbour, as in GPT-J (Su et al., "RoFormer", 2021).
        """

    def attention(
        self,
        queries: A,
        keys: A,
        values: A,
        scale: float,
        window: int | None = None,
        past: LayerCache[A] | None = None,
        first: int = 0,
    ) -> A:
        """Attend causally with queries (batch, time, heads, head width).

        Each head of keys and values (batch, time, kv heads, head width) serves the same number of
        neighbouring heads of queries (Ainslie et al., "GQA", 2023). All three may be views, such as those of
        `split_qkv`. With a past, the batch is 1 and has the rows of its spans side by side; keys and values
        are appended to it. Query i of a row sees its past and its new keys up to i, or the last `window` of
        these. The result has the shape (batch, outputs, heads * head width): queries before position `first`
        are skipped, or with a past those that its spans say.
        """

    def token_statistics(
        self,
        logits: A,
        targets: np.ndarray[Any, np.dtype[np.int64]],
        word_starts: np.ndarray[Any, np.dtype[np.float32]] | None,
    ) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return statistics (4, time) of how well logits (time, vocabulary) predicted targets (time,).

        The rows are log-probabilities and entropies in nats, ranks, and the log-probability of any token
        marked 1 in `word_starts` (vocabulary,), or NaN without it. The logits may be overwritten.
        """

    def choose(
        self, rows: Sequence[np.ndarray[Any, np.dtype[np.float32]]], filters: Sequence[tuple[float, ...]]
    ) -> list[int] | None:
        """Return the index chosen from each row of logits (vocabulary,), or None if the caller must choose.

        The filters of a row are its temperature, top-k, top-p and min-p, and the position of the draw. An
        index is -1 if there is NaN or infinity, -2 if all logits are minus infinity.
        """

    def select(self, x: A, places: Places) -> A:
        """Return x[:, places] for x (batch, time, width)."""


def in_batch(x: A, batch: int) -> A:
    """Return (rows, time, ...) as a batch (batch, rows * time / batch, ...)."""
    array: Any = x
    divided: A = array.reshape(batch, -1, *x.shape[2:])
    return divided


def split_heads(x: A, heads: int) -> A:
    """Return (batch, time, width) as heads (batch, time, heads, width / heads), a view."""
    array: Any = x
    split: A = array.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)
    return split


def split_qkv(qkv: A, heads: int, kv_heads: int, by_head: bool = False) -> tuple[A, A, A]:
    """Return the heads of queries, keys and values, views of their fused projection (batch, time, width).

    The heads of all queries come first, then those of keys and values; or, by head, each head's query, key
    and value lie together, as in GPT-NeoX.
    """
    split: Any = split_heads(qkv, heads + 2 * kv_heads)
    if by_head:
        return split[:, :, 0::3], split[:, :, 1::3], split[:, :, 2::3]
    return split[:, :, :heads], split[:, :, heads : heads + kv_heads], split[:, :, heads + kv_heads :]
