"""Arrays for the kernels, and error bounds for float32 results against float64.

A float32 sum of n products, added in any order, errs by at most about n * UNIT times the sum of their
magnitudes (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import pytest
from references import Packed

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

kernels = pytest.importorskip("gpt2cli.ops.kernels", reason="the compiled kernels are not built")

# The largest relative error of one rounding; and what rounding to a denormal may lose.
UNIT = 2.0**-24
TINY = 2.0**-149
# The codes of dtypes and activations.
CODES = {"float32": 0, "float16": 1, "bfloat16": 2}
ACTIVATION_CODES = {None: 0, "gelu_tanh": 1, "gelu": 2, "silu": 3}
# A power of ten around which the numbers lie; float16 has no more than 65,504, and denormals below 6e-5.
SIZES = {
    "float32": {"usual": 1.0, "large": 1e15, "denormal": 1e-40},
    "float16": {"usual": 1.0, "large": 1e4, "denormal": 1e-6},
    "bfloat16": {"usual": 1.0, "large": 1e15, "denormal": 1e-40},
}


def has_instructions(name: str) -> bool:
    """Return whether this processor can run the kernels of an instruction set."""
    try:
        kernels.use(name)
    except ValueError:
        return False
    finally:
        kernels.use(None)
    return True


INSTRUCTION_SETS = [name for name in ("generic", "avx2", "avx512", "amx") if has_instructions(name)]
# Those that have kernels for int8 alone.
INT8_ALONE = ("avxvnni", "dotprod", "i8mm")
INT8_INSTRUCTION_SETS = [*INSTRUCTION_SETS, *(name for name in INT8_ALONE if has_instructions(name))]


@contextmanager
def running(name: str | None = None, threads: int = 1) -> Iterator[None]:
    """Compute with the kernels of an instruction set on some threads, and afterwards as before."""
    before = kernels.threads()
    kernels.use(name)
    kernels.set_threads(threads)
    try:
        yield
    finally:
        kernels.use(None)
        kernels.set_threads(before)


def random(*shape: int, seed: int = 0, size: float = 1.0) -> Array:
    """Return float32 numbers of both signs around a size, always the same for a seed."""
    return (normal_numbers(shape, seed) * size).astype(np.float32)


# The same sizes come again for each instruction set and each dtype.
@lru_cache(256)
def normal_numbers(shape: tuple[int, ...], seed: int) -> Array:
    """Return normally distributed numbers, which nobody may change."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def stored(numbers: Array, dtype: str) -> tuple[Array, Array]:
    """Return numbers as stored in a dtype, and what that stores in float64."""
    if dtype == "bfloat16":
        bits = np.ascontiguousarray(numbers).view(np.uint32) >> 16
        return bits.astype(np.uint16), (bits << 16).view(np.float32).astype(np.float64)
    array = numbers.astype(dtype)
    return array, array.astype(np.float64)


def linear(
    x: Array,
    weight: Array,
    dtype: str,
    bias: Array | None,
    activation: str | None = None,
    gate: Array | None = None,
    residual: Array | None = None,
) -> Array:
    """Return x @ weight + bias and its epilogue, as the kernels compute it."""
    out = filled(len(x), weight.shape[1])
    kernels.linear(x, weight, CODES[dtype], bias, ACTIVATION_CODES[activation], gate, residual, out)
    return out


def panels_of(weight: Array) -> Array:
    """Return the panels of a float32 weight (depth, columns), as the kernels pack it."""
    (depth, columns), width = weight.shape, kernels.panel_columns()
    panels = filled(-(-columns // width), depth, width)
    kernels.pack(weight, panels)
    return panels


def linear_packed(
    x: Array,
    panels: Array,
    bias: Array | None,
    columns: int,
    activation: str | None = None,
    gate: Array | None = None,
    residual: Array | None = None,
) -> Array:
    """Return x @ the weight of the panels + bias and its epilogue, as the kernels compute it."""
    out = filled(len(x), columns)
    kernels.linear_packed(x, panels, bias, ACTIVATION_CODES[activation], gate, residual, out)
    return out


def lm_head(x: Array, table: Array, dtype: str) -> Array:
    """Return x @ table.T as the kernels compute it."""
    out = filled(len(x), len(table))
    kernels.lm_head(x, table, CODES[dtype], out)
    return out


def packed(weight: Array) -> Packed:
    """Return a matrix (depth, columns) in int8, as the kernels pack it."""
    depth, columns = weight.shape
    panel_columns, quad = kernels.INT8_PANEL_COLUMNS, kernels.INT8_QUAD
    count = -(-columns // panel_columns)
    panels = np.full((count, -(-depth // quad), panel_columns, quad), 77, np.uint8)
    matrix = Packed(panels, filled(count * panel_columns), filled(count * panel_columns))
    kernels.pack_int8(weight, *matrix)
    return matrix


def linear_int8(
    x: Array,
    matrix: Packed,
    bias: Array | None,
    columns: int,
    bits: int = 15,
    activation: str | None = None,
    gate: Array | None = None,
    residual: Array | None = None,
) -> Array:
    """Return the product of x, rounded to 15 or 8 bits, and a matrix, as the kernels compute it."""
    out = filled(len(x), columns)
    totals = matrix.totals if bits == 8 else None
    code = ACTIVATION_CODES[activation]
    kernels.linear_int8(x, matrix.panels, matrix.scales, totals, bias, code, gate, residual, out)
    return out


def attention(
    queries: Array, keys: Array, values: Array, scale: float = 0.3, window: int = 0, by_head: bool = False
) -> Array:
    """Return attention as the kernels compute it, with all but the newest keys and values in a cache.

    The newest are views of one array, in which all heads of queries come first or, by head, those that belong
    together are neighbours.
    """
    batch, heads, time, width = queries.shape
    past, kv_heads = keys.shape[2] - time, keys.shape[1]
    newest = [part.swapaxes(1, 2) for part in (queries, keys[:, :, past:], values[:, :, past:])]
    qkv = filled(batch, time, heads + 2 * kv_heads, width)
    places = [slice(heads), slice(heads, heads + kv_heads), slice(heads + kv_heads, None)]
    if by_head:
        places = [slice(part, None, 3) for part in range(3)]
    views = [qkv[:, :, part] for part in places]
    for view, part in zip(views, newest, strict=True):
        view[...] = part
    out = filled(batch, time, heads * width)
    if not past:
        kernels.attention(*views, None, None, None, 0, scale, window, out)
        return out.reshape(batch, time, heads, width).transpose(0, 2, 1, 3)
    # With unused room, and so with gaps between heads and rows, which have an order of their own.
    room = past + time + 5
    held = [filled(kv_heads, batch * room, width) for _ in range(2)]
    begins = np.arange(batch)[::-1] * room
    for cache, part in zip(held, (keys, values), strict=True):
        for begin, row in zip(begins, part, strict=True):
            cache[:, begin : begin + past] = row[:, :past]
    spans = np.stack([begins, *(np.full(batch, number) for number in (past, time, 0))], axis=1)
    side_by_side = [qkv.reshape(1, batch * time, *qkv.shape[2:])[:, :, part] for part in places]
    kernels.attention(*side_by_side, *held, spans, 0, scale, window, out)
    for cache, part in zip(held, (keys, values), strict=True):
        for begin, row in zip(begins, part, strict=True):
            assert np.array_equal(cache[:, begin : begin + past + time], row, equal_nan=True)
            assert (cache[:, begin + past + time : begin + room] == filled(1)).all()
    return out.reshape(batch, time, heads, width).transpose(0, 2, 1, 3)


def layer_norm(x: Array, weight: Array, bias: Array | None, epsilon: float = 1e-5) -> Array:
    """Return the norm of each row of x, as the kernels compute it."""
    out = filled(*x.shape)
    kernels.layer_norm(x, weight, bias, epsilon, out)
    return out


def rms_norm(x: Array, weight: Array, epsilon: float = 1e-5) -> Array:
    """Return the norm of each row of x by its mean square, as the kernels compute it."""
    out = filled(*x.shape)
    kernels.rms_norm(x, weight, epsilon, out)
    return out


def token_statistics(logits: Array, targets: Array, word_starts: Array | None) -> Array:
    """Return the statistics (4, rows) of targets, as the kernels compute them."""
    out = np.full((4, len(targets)), 1.2345e33)
    kernels.token_statistics(logits, targets, word_starts, out)
    return out


def activated(x: Array, activation: str) -> Array:
    """Return the activation of each number: the epilogue of its product with one."""
    one = np.ones((1, 1), np.float32)
    return linear(one, x.reshape(1, -1), "float32", None, activation).reshape(x.shape)


def filled(*shape: int) -> Array:
    """Return an array for a result, filled with a number that cannot pass for one."""
    return np.full(shape, 1.2345e33, np.float32)


def assert_within(actual: Array, expected: Array, bound: Array, *circumstances: object) -> None:
    """Assert that no number is farther than its bound from what it should be."""
    excess = np.abs(actual - expected) - bound
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    assert excess[worst] <= 0, (*circumstances, worst, actual[worst], expected[worst], bound[worst])


def product_bound(x: Array, weight: Array, bias: Array | float) -> Array:
    """Return how far x @ weight + bias may lie from the true product, for float64 arguments."""
    depth = len(weight)
    bound: Array = (depth + 3) * (UNIT * (np.abs(x) @ np.abs(weight) + np.abs(bias)) + TINY)
    return bound
