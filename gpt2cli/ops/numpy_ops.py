"""The decoder's operations on numpy arrays: the CPU engine, which starts without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.ops import StoredTensor
from gpt2cli.ops.numpy_activations import ACTIVATIONS

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# Queries that attend at once in prefill: bounds the scores to heads * 256 * context numbers.
QUERIES_AT_ONCE = 256


class NumpyOps:
    """Compute in float32 on the CPU; see `ops.Ops`."""

    name = "numpy"

    def weight(self, tensor: StoredTensor) -> Array:
        if tensor.dtype == "BF16":
            return (tensor.array.astype(np.uint32) << 16).view(np.float32)
        return tensor.array.astype(np.float32, copy=False)

    def token_ids(self, ids: Sequence[Sequence[int]]) -> Array:
        return np.array(ids, dtype=np.int64)

    def to_numpy(self, x: Array) -> Array:
        return x

    def zeros(self, shape: tuple[int, ...]) -> Array:
        return np.zeros(shape, dtype=np.float32)

    def embed(self, tokens: Array, positions: Array, ids: Array, start: int) -> Array:
        embedded: Array = tokens[ids]
        embedded += positions[start : start + ids.shape[1]]
        return embedded

    def layer_norm(self, x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
        centered = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centered).mean(axis=-1, keepdims=True)
        centered /= np.sqrt(variance + epsilon)
        centered *= weight
        centered += bias
        return centered

    def linear(self, x: Array, weight: Array, bias: Array) -> Array:
        # As one matrix, because matmul of three axes multiplies each batch row by itself.
        product: Array = x.reshape(-1, x.shape[-1]) @ weight
        product += bias
        return product.reshape(*x.shape[:-1], weight.shape[1])

    def head(self, x: Array, table: Array) -> Array:
        rows = x.reshape(-1, x.shape[-1])
        return (rows @ table.T).reshape(*x.shape[:-1], table.shape[0])

    def split_heads(self, qkv: Array, heads: int) -> tuple[Array, Array, Array]:
        batch, time, width = qkv.shape
        parts = qkv.reshape(batch, time, 3, heads, width // (3 * heads)).transpose(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]

    def merge_heads(self, x: Array) -> Array:
        batch, heads, time, head_width = x.shape
        return x.transpose(0, 2, 1, 3).reshape(batch, time, heads * head_width)

    def attention(self, queries: Array, keys: Array, values: Array, scale: float) -> Array:
        time = queries.shape[2]
        past = keys.shape[2] - time
        attended = np.empty(queries.shape, dtype=np.float32)
        for start in range(0, time, QUERIES_AT_ONCE):
            end = min(start + QUERIES_AT_ONCE, time)
            seen = past + end
            attended[:, :, start:end] = _attend(
                queries[:, :, start:end], keys[:, :, :seen], values[:, :, :seen], scale
            )
        return attended

    def activation(self, name: str, x: Array) -> Array:
        return ACTIVATIONS[name](x)

    def add(self, residual: Array, update: Array) -> Array:
        update += residual
        return update

    def last(self, x: Array) -> Array:
        return x[:, -1:]

    def select_rows(self, x: Array, rows: Sequence[int]) -> Array:
        return x[list(rows)]


def _attend(queries: Array, keys: Array, values: Array, scale: float) -> Array:
    scores = (queries * np.float32(scale)) @ keys.swapaxes(-1, -2)
    time, total = scores.shape[-2:]
    if time > 1:
        hidden = np.triu(np.ones((time, total), dtype=bool), total - time + 1)
        scores[..., hidden] = -np.inf
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    attended: Array = scores @ values
    return attended
