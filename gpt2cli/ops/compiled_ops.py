"""The decoder's operations on compiled kernels: the fastest CPU backend, and the only one for 16 and 8 bits.

Matrices keep their stored dtype; activations are float32. Results do not depend on the number of rows or
threads, so a sample has the same bits in any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.ops import kernels
from gpt2cli.ops.compiled_weights import Int8Matrix, PackedWeights, Table, as_table
from gpt2cli.ops.head_screen import shortlist
from gpt2cli.ops.numpy_ops import NumpyOps, finish, widen
from gpt2cli.ops.operations import LayerCache, Places, Storage, StoredTensor

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# The kernels' dtype codes, by numpy's type characters; bfloat16 is stored as uint16.
DTYPE_CODES = {"f": 0, "e": 1, "H": 2}
# The kernels' codes of the activations that they compute.
ACTIVATION_CODES: dict[str | None, int] = {
    None: 0,
    **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"), 1),
    **dict.fromkeys(("gelu", "gelu_python"), 2),
    **dict.fromkeys(("silu", "swish"), 3),
}


class CompiledOps(NumpyOps):
    """Float32 operations on matrices in `storage`, or in their stored dtype; see `ops.Ops`."""

    name = "compiled"
    uses_screens = True

    def __init__(self, storage: Storage | None = None) -> None:
        self.storage = storage
        self.dtype_name = storage or "float32"
        self._packed: PackedWeights | None = None

    def expect_many_rows(self, free_memory: Callable[[], int]) -> None:
        self._packed = self._packed or PackedWeights(free_memory)

    def weight(self, tensor: StoredTensor) -> Any:
        if tensor.scales is not None:
            return Int8Matrix(tensor.shape, tensor.array, tensor.scales, tensor.totals)
        if tensor.array.ndim == 1 or tensor.array.dtype.char not in DTYPE_CODES:
            return super().weight(tensor)
        # The kernels read a matrix and its transpose where they are, but nothing with gaps.
        return tensor.array if tensor.array.flags.forc else np.ascontiguousarray(tensor.array)

    def table(self, tensor: StoredTensor) -> Any:
        weight = self.weight(tensor)
        if isinstance(weight, Int8Matrix):
            return weight
        # Rows of a converted table cannot be read from the file.
        read_rows = tensor.read_rows if weight is tensor.array else None
        return Table(weight, read_rows, self.weight(tensor.screen) if tensor.screen else None)

    def to_numpy(self, x: Array) -> Array:
        return widen(x)

    def embed(
        self, tokens: Array | Table, positions: Array | Table | None, ids: Array, places: Places
    ) -> Array:
        embedded: Array = widen(as_table(tokens).rows(ids.ravel())).reshape(*ids.shape, -1)
        if positions is None:
            return embedded
        if isinstance(places, slice):
            places = np.arange(places.start, places.stop)
        return embedded + widen(as_table(positions).rows(places))

    def layer_norm(self, x: Array, weight: Array, bias: Array | None, epsilon: float) -> Array:
        out = np.empty(x.shape, np.float32)
        kernels.layer_norm(x, weight, bias, epsilon, out)
        return out

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        out = np.empty(x.shape, np.float32)
        kernels.rms_norm(x, weight, epsilon, out)
        return out

    def linear(
        self,
        x: Array,
        weight: Array | Int8Matrix,
        bias: Array | None,
        activation: str | None = None,
        residual: Array | None = None,
        gate: Array | None = None,
    ) -> Array:
        code = ACTIVATION_CODES.get(activation)
        if code is None:
            return finish(self.linear(x, weight, bias), activation, residual, gate)
        out = np.empty((*x.shape[:-1], weight.shape[1]), np.float32)
        epilogue = (code, gate, residual, out)
        if isinstance(weight, Int8Matrix):
            kernels.linear_int8(x, weight.panels, weight.scales, weight.totals, bias, *epilogue)
            return out
        panels = self._packed.panels(weight, x.size // x.shape[-1]) if self._packed else None
        if panels is not None:
            kernels.linear_packed(x, panels, bias, *epilogue)
        else:
            kernels.linear(x, weight, DTYPE_CODES[weight.dtype.char], bias, *epilogue)
        return out

    def head(self, x: Array, table: Array | Table | Int8Matrix, top: int | None = None) -> Array:
        x = np.ascontiguousarray(x)
        if isinstance(table, Int8Matrix):
            return _linear_int8(x, table)
        table = as_table(table)
        logits = None if top is None else _screened_logits(x, table, top)
        return _lm_head(x, table.array) if logits is None else logits

    def rotate(
        self, queries: Array, keys: Array, cosines: Array, sines: Array, neighbours: bool = False
    ) -> tuple[Array, Array]:
        kernels.rotate(queries, keys, cosines, sines, neighbours)
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
        batch, time, heads, width = queries.shape
        first += time if first < 0 else 0
        outputs = time - int(past.spans[:, 3].sum()) if past else time - first
        out = np.empty((batch, outputs, heads * width), np.float32)
        held = (past.keys, past.values, past.spans) if past else (None, None, None)
        kernels.attention(queries, keys, values, held[0], held[1], held[2], first, scale, window or 0, out)
        return out

    def choose(self, rows: Sequence[Array], filters: Sequence[tuple[float, ...]]) -> list[int] | None:
        table = np.array(filters, np.float64)
        with np.errstate(divide="ignore"):
            table[:, 3] = np.log(table[:, 3])
        out = np.empty(len(rows), np.int64)
        kernels.choose(rows, table, out)
        return out.tolist()

    def select(self, x: Array, places: Places) -> Array:
        # The last positions of several rows are not contiguous, and the kernels need contiguous arrays.
        return np.ascontiguousarray(x[:, places])

    def token_statistics(self, logits: Array, targets: Array, word_starts: Array | None) -> Array:
        out = np.empty((4, len(targets)))
        kernels.token_statistics(logits, targets, word_starts, out)
        return out


def _linear_int8(x: Array, weight: Int8Matrix) -> Array:
    out = np.empty((*x.shape[:-1], weight.shape[0]), np.float32)
    kernels.linear_int8(x, weight.panels, weight.scales, weight.totals, None, 0, None, None, out)
    return out


def _lm_head(x: Array, rows: Array) -> Array:
    out = np.empty((*x.shape[:-1], len(rows)), np.float32)
    kernels.lm_head(x, rows, DTYPE_CODES[rows.dtype.char], out)
    return out


def _screened_logits(x: Array, table: Table, top: int) -> Array | None:
    """Return the logits of a single row, with minus infinity for tokens outside the `top` highest.

    Return None if the screen does not apply or leaves too many tokens.
    """
    if table.screen is None or x.size != x.shape[-1] or table.failures > 0:
        return None
    logits = _linear_int8(x, table.screen)
    tokens = shortlist(x.ravel(), logits.ravel(), table.screen.scales[: logits.size], top)
    if tokens is None:
        table.failures += 1
        return None
    table.failures -= 1
    out = np.full_like(logits, -np.inf)
    out[..., tokens] = _lm_head(x, table.rows(tokens))
    return out
