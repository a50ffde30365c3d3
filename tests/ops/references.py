"""Readable float64 references for every operation of the compiled kernels.

The tests compare the kernels with these. Each has the name of its kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# The largest whole number to which weights and 8-bit activations, and 15-bit activations, are rounded.
INT8_QMAX, INT15_QMAX = 127, 16256


def linear(
    x: Array,
    weight: Array,
    bias: Array | float = 0.0,
    activation: str | None = None,
    gate: Array | float = 1.0,
    residual: Array | float = 0.0,
) -> Array:
    """Return the product of x (rows, depth) and weight (depth, columns) with its epilogue."""
    result = x.astype(np.float64) @ weight.astype(np.float64) + bias
    if activation is not None:
        result = ACTIVATIONS[activation](result)
    finished: Array = result * gate + residual
    return finished


def lm_head(x: Array, table: Array) -> Array:
    """Return the logits (rows, tokens) of x (rows, width) and table (tokens, width)."""
    logits: Array = x.astype(np.float64) @ table.T.astype(np.float64)
    return logits


def gelu_tanh(x: Array) -> Array:
    """Hendrycks & Gimpel, "Gaussian Error Linear Units" (2016), the approximation by tanh.

    (1 + tanh(y)) / 2 is written as 1 / (1 + exp(-2 y)), which keeps its digits where tanh nears -1.
    """
    x = x.astype(np.float64)
    y = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    activated: Array = x / (1 + np.exp(np.minimum(-2 * y, 700)))
    return activated


def gelu(x: Array) -> Array:
    """Hendrycks & Gimpel, "Gaussian Error Linear Units" (2016): x times the normal distribution up to x.

    (1 + erf(y)) / 2 is written as erfc(-y) / 2, which keeps its digits where erf nears -1.
    """
    distribution = [0.5 * math.erfc(-number / math.sqrt(2)) for number in x.ravel()]
    activated: Array = x.astype(np.float64) * np.reshape(distribution, x.shape)
    return activated


def silu(x: Array) -> Array:
    """Return x times its logistic function; Elfwing et al., "Sigmoid-Weighted Linear Units" (2018)."""
    x = x.astype(np.float64)
    activated: Array = x / (1 + np.exp(np.minimum(-x, 700)))
    return activated


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"gelu_tanh": gelu_tanh, "gelu": gelu, "silu": silu}


class Rounded(NamedTuple):
    """Whole numbers, and the scale of each column that turns them back."""

    whole: Array
    scales: Array


def rounded(numbers: Array, qmax: int) -> Rounded:
    """Round each column so that its largest magnitude becomes qmax.

    This is in float32, as the kernels do it: a float64 quotient could round a half the other way.
    """
    largest = np.abs(numbers).max(axis=0)
    inverse = np.divide(np.float32(qmax), largest, out=np.zeros_like(largest), where=largest > 0)
    scaled = numbers * inverse
    # Halves are rounded away from zero.
    whole = np.trunc(scaled + np.copysign(np.float32(0.5), scaled))
    return Rounded(whole.astype(np.int64), largest / np.float32(qmax))


class Packed(NamedTuple):
    """An int8 matrix: panels of whole numbers, and each column's scale and total."""

    panels: Array
    scales: Array
    totals: Array


def pack_int8(weight: Array, panel_columns: int = 32, quad: int = 4, zero_point: int = 128) -> Packed:
    """Return weight (depth, columns) in int8, where each number goes one by one to its place."""
    depth, columns = weight.shape
    panel_count = -(-columns // panel_columns)
    whole, scales = rounded(weight, INT8_QMAX)
    panels = np.full((panel_count, -(-depth // quad), panel_columns, quad), zero_point, np.uint8)
    for k in range(depth):
        for column in range(columns):
            place = column // panel_columns, k // quad, column % panel_columns, k % quad
            panels[place] = whole[k, column] + zero_point
    padding = np.zeros(panel_count * panel_columns - columns, np.float32)
    totals = whole.sum(axis=0).astype(np.float32) * scales
    return Packed(panels, np.concatenate([scales, padding]), np.concatenate([totals, padding]))


def linear_int8(x: Array, weight: Array, bias: Array) -> Array:
    """Return the product of x, its rows rounded to 15 bits, and weight, its columns rounded to 8."""
    rows, columns = rounded(x.T, INT15_QMAX), rounded(weight, INT8_QMAX)
    scale = rows.scales[:, np.newaxis].astype(np.float64) * columns.scales
    return (rows.whole.T @ columns.whole) * scale + bias


def attention_weights(queries: Array, keys: Array, scale: float, window: int = 0) -> Array:
    """Return the softmax of the scores, (batch, heads, time, past + time).

    Query i sees the keys up to its own position. Keys (batch, heads, past + time, width) include those of the
    cache. With a window, a query sees only the last of them.
    """
    scores = scale * queries.astype(np.float64) @ keys.astype(np.float64).swapaxes(-1, -2)
    time, seen = scores.shape[-2:]
    distances = np.arange(seen - time, seen)[:, np.newaxis] - np.arange(seen)
    scores[..., (distances < 0) | ((distances >= window) & (window > 0))] = -np.inf
    weights: Array = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def attention(weights: Array, values: Array) -> Array:
    """Return what queries with these weights read from values (batch, heads, past + time, width)."""
    attended: Array = weights @ values.astype(np.float64)
    return attended


def rotate(x: Array, cosines: Array, sines: Array, neighbours: bool) -> Array:
    """Return heads (batch, time, heads, width) whose pairs of numbers are turned as points of a plane are.

    A pair is a number and its counterpart in the second half of those that are rotated, or its neighbour.
    """
    turned, pairs = x.astype(np.float64), cosines.shape[1]
    for pair in range(pairs):
        first, second = (2 * pair, 2 * pair + 1) if neighbours else (pair, pairs + pair)
        for position in range(x.shape[1]):
            cosine, sine = cosines[position, pair], sines[position, pair]
            a, b = (x[:, position, :, place].astype(np.float64) for place in (first, second))
            turned[:, position, :, first] = a * cosine - b * sine
            turned[:, position, :, second] = b * cosine + a * sine
    return turned


def layer_norm(x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
    """Return the rows of x (rows, width) with mean 0 and variance 1, times weight, plus bias."""
    centered = x.astype(np.float64) - x.mean(axis=-1, keepdims=True, dtype=np.float64)
    variance = np.square(centered).mean(axis=-1, keepdims=True)
    normed: Array = centered / np.sqrt(variance + epsilon) * weight + bias
    return normed


def rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    """Return the rows of x (rows, width) with a mean square of 1, times weight."""
    mean_square = np.square(x.astype(np.float64)).mean(axis=-1, keepdims=True)
    normed: Array = x / np.sqrt(mean_square + epsilon) * weight
    return normed


def token_statistics(logits: Array, targets: Array, word_starts: Array) -> Array:
    """Return (4, rows): log-probability, entropy, rank, and log-probability of a token that begins a word."""
    rows = []
    for row, target in zip(logits.astype(np.float64), targets, strict=True):
        logprobs = row - row.max() - np.log(np.exp(row - row.max()).sum())
        probs = np.exp(logprobs)
        entropy = -probs[probs > 0] @ logprobs[probs > 0]
        rank = 1 + np.count_nonzero(row > row[target])
        rows.append((logprobs[target], entropy, rank, np.log(probs[word_starts > 0].sum())))
    return np.array(rows).T
