"""The decoder's operations on numpy arrays: the CPU backend that needs no compiler and no PyTorch."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Sequence
from functools import partial
from itertools import starmap
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.ops.numpy_activations import ACTIVATIONS
from gpt2cli.ops.operations import LayerCache, Places, Storage, StoredTensor
from gpt2cli.ops.threads import shared_work

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# Limits the scores to heads * 128 * context numbers; shorter blocks skip more of the future keys.
QUERIES_AT_ONCE = 128
# Few enough to stay in the processor's cache between passes.
ROWS_AT_ONCE = 8
# Below this, the exponential is zero in float32.
LEAST_EXPONENT = np.float32(-104.0)
# Memory that a fork copies, where systems have both.
PRIVATE = (mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,) if hasattr(mmap, "MAP_PRIVATE") else ()


class NumpyOps:
    """Float32 operations on the CPU; see `ops.Ops`."""

    name = "numpy"
    device_name = "cpu"
    dtype_name = "float32"
    storage: Storage | None = None
    uses_screens = False
    decodes_ahead = False
    number_bytes = 4
    unused_gpu = ""

    def __init__(self, threads: int = 1) -> None:
        self.work = shared_work(threads)

    def free_memory(self) -> int | None:
        return None

    def expect_many_rows(self, free_memory: Callable[[], int]) -> None:
        pass

    def weight(self, tensor: StoredTensor) -> Array:
        return widen(tensor.array)

    def table(self, tensor: StoredTensor) -> Array:
        return self.weight(tensor)

    def token_ids(self, ids: Sequence[Sequence[int]]) -> Array:
        return np.array(ids, dtype=np.int64)

    def to_numpy(self, x: Array) -> Array:
        return x

    def empty(self, shape: tuple[int, ...]) -> Array:
        # numpy's own memory may come in huge pages, each of which is taken whole.
        count = math.prod(shape)
        return np.frombuffer(mmap.mmap(-1, 4 * max(1, count), *PRIVATE), np.float32, count).reshape(shape)

    def embed(self, tokens: Array, positions: Array | None, ids: Array, places: Places) -> Array:
        embedded: Array = tokens[ids]
        if positions is not None:
            embedded += positions[places]
        return embedded

    def layer_norm(self, x: Array, weight: Array, bias: Array | None, epsilon: float) -> Array:
        width = x.shape[-1]
        normed: Array = x - x.sum(axis=-1, keepdims=True) / width
        variance = np.vecdot(normed, normed)[..., np.newaxis] / width
        normed /= np.sqrt(variance + epsilon)
        normed *= weight
        if bias is not None:
            normed += bias
        return normed

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        mean_square = np.vecdot(x, x)[..., np.newaxis] / x.shape[-1]
        normed: Array = x / np.sqrt(mean_square + epsilon)
        normed *= weight
        return normed

    def linear(
        self,
        x: Array,
        weight: Array,
        bias: Array | None,
        activation: str | None = None,
        residual: Array | None = None,
        gate: Array | None = None,
    ) -> Array:
        # As one matrix, because matmul on three axes multiplies each batch row separately.
        product = self.product(x.reshape(-1, x.shape[-1]), weight)
        if bias is not None:
            product += bias
        return finish(product.reshape(*x.shape[:-1], weight.shape[1]), activation, residual, gate)

    def head(self, x: Array, table: Array, top: int | None = None) -> Array:
        rows = x.reshape(-1, x.shape[-1])
        return self.product(rows, table.T).reshape(*x.shape[:-1], table.shape[0])

    def rotate(
        self, queries: Array, keys: Array, cosines: Array, sines: Array, neighbours: bool = False
    ) -> tuple[Array, Array]:
        pairs = cosines.shape[1]
        for part in (queries, keys):
            first, second = part[..., :pairs], part[..., pairs : 2 * pairs]
            if neighbours:
                first, second = part[..., 0 : 2 * pairs : 2], part[..., 1 : 2 * pairs : 2]
            cosine, sine = cosines[:, np.newaxis], sines[:, np.newaxis]
            turned = first * cosine - second * sine
            second[...] = second * cosine + first * sine
            first[...] = turned
        return queries, keys

    def attention(
        self,
        queries: Array,
        keys: Array,
        values: Array,
        scale: float,
        window: int | None = None,
        past: LayerCache[Array] | None = None,
        first: int = 0,
    ) -> Array:
        queries = queries * np.float32(scale)
        if not past:
            rows = zip(queries[:, first:], keys.swapaxes(1, 2), values.swapaxes(1, 2), strict=True)
            return np.stack([self._attend(*row, window) for row in rows])
        own, held_keys, held_values = queries[0], past.keys, past.values
        spans = past.append(keys[0].swapaxes(0, 1), values[0].swapaxes(0, 1))
        attended = [
            self._attend(own[new][skipped:], held_keys[:, there], held_values[:, there], window)
            for new, there, skipped in spans
        ]
        return np.concatenate(attended)[np.newaxis]

    def _attend(self, queries: Array, keys: Array, values: Array, window: int | None) -> Array:
        """Return (time, heads * head width) for queries (time, heads, head width) of one text.

        Its keys and values are (kv heads, seen, head width).
        """
        time, heads, width = queries.shape
        kv_heads, seen, _ = keys.shape
        window = window or seen
        # The heads of queries that share keys and values are an axis of their own.
        queries = queries.swapaxes(0, 1).reshape(kv_heads, heads // kv_heads, time, width)
        keys, values = keys[:, np.newaxis], values[:, np.newaxis]
        attended = np.empty((time, kv_heads, heads // kv_heads, width), np.float32)
        for start in range(0, time, QUERIES_AT_ONCE):
            block = queries[..., start : start + QUERIES_AT_ONCE, :]
            end = start + block.shape[-2]
            last = seen - time + end
            part = slice(max(0, last - block.shape[-2] + 1 - window), last)
            into = attended[start:end].transpose(1, 2, 0, 3)
            self.work.do(
                [
                    partial(
                        _attend,
                        *(block[some], keys[some, :, part], values[some, :, part]),
                        *(window, into[some]),
                    )
                    for some in starmap(slice, self.work.ranges(kv_heads, block.size * last))
                ]
            )
        return attended.reshape(time, heads * width)

    def product(self, rows: Array, matrix: Array) -> Array:
        """Return rows @ matrix, each share some of the columns."""
        product = np.empty((len(rows), matrix.shape[1]), np.result_type(rows, matrix))
        ranges = self.work.ranges(matrix.shape[1], len(rows) * matrix.size)
        self.work.do(
            [
                partial(np.matmul, rows, matrix[:, start:end], out=product[:, start:end])
                for start, end in ranges
            ]
        )
        return product

    def token_statistics(self, logits: Array, targets: Array, word_starts: Array | None) -> Array:
        table = np.empty((4, len(targets)))
        for start in range(0, len(targets), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            # The caller checks for NaN.
            with np.errstate(invalid="ignore"):
                table[:, part] = _token_statistics(logits[part], targets[part], word_starts)
        return table

    def choose(self, rows: Sequence[Array], filters: Sequence[tuple[float, ...]]) -> list[int] | None:
        return None

    def select(self, x: Array, places: Places) -> Array:
        return x[:, places]


def finish(product: Array, activation: str | None, residual: Array | None, gate: Array | None) -> Array:
    """Apply an activation to a product, multiply by a gate and add a residual, in place where possible."""
    if activation is not None:
        product = ACTIVATIONS[activation](product)
    if gate is not None:
        product *= gate
    if residual is not None:
        product += residual
    return product


def widen(numbers: Array) -> Array:
    """Return stored numbers as float32, copying only if needed; uint16 holds the bits of bfloat16."""
    if numbers.dtype == np.uint16:
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(np.float32, copy=False)


def _token_statistics(scores: Array, targets: Array, word_starts: Array | None) -> tuple[Array, ...]:
    scores -= scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores)
    total = weights.sum(axis=-1, dtype=np.float64)
    log_total = np.log(total)
    chosen = scores[np.arange(len(scores)), targets]
    logprobs = np.minimum(chosen - log_total, 0.0)
    ranks = 1.0 + np.count_nonzero(scores > chosen[:, np.newaxis], axis=-1)
    # Minus infinity times zero would be NaN.
    np.maximum(scores, LEAST_EXPONENT, out=scores)
    entropies = np.maximum(log_total - np.vecdot(weights, scores) / total, 0.0)
    starts = np.full(len(scores), np.nan)
    if word_starts is not None:
        # Avoids the logarithm of zero.
        starts = np.log(np.maximum(weights @ word_starts, np.finfo(np.float32).tiny)) - log_total
    return logprobs, entropies, ranks, np.minimum(starts, 0.0)


def _attend(queries: Array, keys: Array, values: Array, window: int, out: Array) -> None:
    scores = queries @ keys.swapaxes(-1, -2)
    time, seen = scores.shape[-2:]
    if time > 1:
        # Only the newest `time` keys are too new for any of the queries.
        np.copyto(scores[..., -time:], -np.inf, where=~np.tri(time, dtype=bool))
    if window < seen:
        np.copyto(scores, -np.inf, where=np.tri(time, seen, seen - time - window, dtype=bool))
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    attended: Array = scores @ values
    np.divide(attended, scores.sum(axis=-1, keepdims=True), out=out)
