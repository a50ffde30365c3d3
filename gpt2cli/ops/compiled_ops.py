"""The decoder's operations in compiled C: the fastest on a CPU, and the only one there for small weights.

Matrices stay in the type in which they are stored, 32, 16 or 8 bits a number; activations are float32. The
sums do not depend on the number of rows or of threads, so a sample is the same in any batch, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.ops import Storage, StoredTensor, kernels
from gpt2cli.ops.numpy_ops import NumpyOps, widen

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# What the kernels call the types of stored numbers, by numpy's letters; uint16 holds bfloat16.
STORED = {"f": 0, "e": 1, "H": 2}
TANH_GELUS = {"gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"}


@dataclass(frozen=True)
class Int8Matrix:
    """Hold a matrix of whole numbers with a scale a column, of `shape`, as `kernels.pack` lays it out.

    With totals, the other factor of a product is rounded to 8 bits a number where that is
    faster than 15, and without them always to 15.
    """

    shape: tuple[int, ...]
    panels: Array
    scales: Array
    totals: Array | None


class CompiledOps(NumpyOps):
    """Compute in float32 on matrices of the type `storage`, or as their file has them; see `ops.Ops`."""

    name = "compiled"

    def __init__(self, storage: Storage | None = None) -> None:
        self.storage = storage
        self.dtype_name = storage or "float32"

    def weight(self, tensor: StoredTensor) -> Any:
        if tensor.scales is not None:
            return Int8Matrix(tensor.shape, tensor.array, tensor.scales, tensor.totals)
        if tensor.array.ndim == 1 or tensor.array.dtype.char not in STORED:
            return super().weight(tensor)
        return tensor.array

    def to_numpy(self, x: Array) -> Array:
        return widen(x)

    def embed(self, tokens: Array, positions: Array, ids: Array, start: int) -> Array:
        embedded: Array = widen(tokens[ids])
        embedded += widen(positions[start : start + ids.shape[1]])
        return embedded

    def layer_norm(self, x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
        out = np.empty(x.shape, np.float32)
        kernels.layer_norm(x, weight, bias, epsilon, out)
        return out

    def linear(self, x: Array, weight: Array | Int8Matrix, bias: Array) -> Array:
        out = np.empty((*x.shape[:-1], len(bias)), np.float32)
        if isinstance(weight, Int8Matrix):
            kernels.linear_int8(x, weight.panels, weight.scales, weight.totals, bias, out)
        else:
            kernels.linear(x, weight, STORED[weight.dtype.char], bias, out)
        return out

    def head(self, x: Array, table: Array | Int8Matrix) -> Array:
        out = np.empty((*x.shape[:-1], table.shape[0]), np.float32)
        x = np.ascontiguousarray(x)
        if isinstance(table, Int8Matrix):
            kernels.linear_int8(x, table.panels, table.scales, table.totals, None, out)
        else:
            kernels.head(x, table, STORED[table.dtype.char], out)
        return out

    def attention(self, queries: Array, keys: Array, values: Array, scale: float) -> Array:
        batch, heads, time, head_width = queries.shape
        # In the order in which the heads are joined, which then is no copy.
        out = np.empty((batch, time, heads, head_width), np.float32).transpose(0, 2, 1, 3)
        kernels.attention(queries, keys, values, scale, out)
        return out

    def token_statistics(self, logits: Array, targets: Array, word_starts: Array | None) -> Array:
        out = np.empty((4, len(targets)))
        kernels.token_statistics(logits, targets, word_starts, out)
        return out

    def activation(self, name: str, x: Array) -> Array:
        if name not in TANH_GELUS:
            return super().activation(name, x)
        kernels.gelu_tanh(x, x)
        return x
