"""Every compiled kernel, against its reference and bit for bit against itself with other rows and threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import kernel_arrays as own
import numpy as np
import pytest
import references
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_arrays import (
    CODES,
    INSTRUCTION_SETS,
    SIZES,
    TINY,
    UNIT,
    Array,
    assert_within,
    product_bound,
    random,
    running,
    stored,
)

from gpt2cli.ops.numpy_activations import ACTIVATIONS

# On both sides of 16 lanes, 32 columns of a panel, 384 and 768 of depth in a part; at 1024, rows lie whole
# pages apart.
DEPTHS = (1, 3, 15, 16, 17, 31, 33, 97, 384, 385, 777, 1024, 1600)
COLUMNS = (1, 31, 32, 33, 64, 257)
# On both sides of 4, 6, 8, 12, 24 and 48 rows, and of 28, 42 and 84, from which rows are many.
MOST_ROWS = 89
ROWS = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    11,
    12,
    13,
    14,
    15,
    23,
    24,
    25,
    27,
    28,
    30,
    41,
    42,
    47,
    49,
    83,
    84,
    MOST_ROWS,
)
THREADS = range(1, 9)
WIDTHS = (1, 3, 15, 16, 17, 31, 33, 64)
# On both sides of 4 and 32 queries, and beyond twice 32.
TIMES = (1, 2, 3, 4, 5, 8, 9, 31, 32, 33, 69)


@pytest.fixture(params=INSTRUCTION_SETS)
def instructions(request: pytest.FixtureRequest) -> Iterator[str]:
    with running(request.param):
        yield request.param


class Product:
    """The product with one random matrix, by a kernel and by its reference."""

    def __init__(self, kind: str, dtype: str, depth: int, columns: int, size: float = 1.0) -> None:
        weight = random(depth, columns, size=size)
        self.columns = columns
        self.bias: Array | None = np.zeros(columns, np.float32)
        if kind in ("linear", "packed", "transposed"):
            self.bias = random(columns, seed=1)
        self._kind, self._dtype = kind, dtype
        if kind == "linear_int8":
            self._packed = own.packed(weight)
        else:
            # Which way round the numbers lie in memory; both that are transposed are stored (columns, depth).
            turned = kind not in ("linear", "packed")
            self._stored, self._exact = stored(weight.T.copy() if turned else weight, dtype)
            if kind == "transposed":
                self._stored, self._exact = self._stored.T, self._exact.T

    def __call__(
        self,
        x: Array,
        activation: str | None = None,
        gate: Array | None = None,
        residual: Array | None = None,
    ) -> Array:
        epilogue = (activation, gate, residual)
        if self._kind == "packed":
            panels = own.panels_of(self._stored)
            return own.linear_packed(x, panels, self.bias, self.columns, *epilogue)
        if self._kind == "linear_int8":
            bits = int(self._dtype.split()[0])
            return own.linear_int8(x, self._packed, self.bias, self.columns, bits, *epilogue)
        if self._kind == "lm_head":
            return own.lm_head(x, self._stored, self._dtype)
        return own.linear(x, self._stored, self._dtype, self.bias, *epilogue)

    def in_float64(self, x: Array) -> tuple[Array, Array]:
        """Return the product in float64, and how far float32 may lie from it."""
        wide, bias = x.astype(np.float64), 0.0 if self.bias is None else self.bias
        if self._kind == "lm_head":
            return references.lm_head(x, self._exact), product_bound(wide, self._exact.T, 0.0)
        return references.linear(x, self._exact, bias), product_bound(wide, self._exact, bias)


PRODUCTS = [(kind, dtype) for kind in ("linear", "transposed", "lm_head") for dtype in CODES]
PRODUCTS.append(("packed", "float32"))
ALL_PRODUCTS = [*PRODUCTS, ("linear_int8", "15 bits"), ("linear_int8", "8 bits")]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "dtype"), PRODUCTS)
def test_a_product_of_any_size_is_that_in_float64(kind: str, dtype: str) -> None:
    for depth in DEPTHS:
        for columns in COLUMNS:
            product = Product(kind, dtype, depth, columns)
            # The next test shows that fewer rows give the same.
            x = random(MOST_ROWS, depth, seed=2)
            expected = product.in_float64(x)
            for instructions in INSTRUCTION_SETS:
                with running(instructions):
                    assert_within(product(x), *expected, instructions, depth, columns)


@pytest.mark.slow
@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize(("kind", "dtype"), ALL_PRODUCTS)
def test_a_row_of_a_product_is_the_same_in_any_company(kind: str, dtype: str) -> None:
    for depth in DEPTHS:
        for columns in COLUMNS:
            product = Product(kind, dtype, depth, columns)
            x = random(MOST_ROWS, depth, seed=2)
            alone = np.concatenate([product(row[np.newaxis]) for row in x])
            for rows in ROWS:
                assert np.array_equal(product(x[:rows]), alone[:rows]), (depth, columns, rows)


@pytest.mark.slow
@pytest.mark.usefixtures("instructions")
def test_a_product_has_the_same_bits_with_its_weight_packed() -> None:
    for depth in DEPTHS:
        # A single column is multiplied as a transpose.
        for columns in COLUMNS[1:]:
            weight, bias, x = (
                random(depth, columns),
                random(columns, seed=1),
                random(MOST_ROWS, depth, seed=2),
            )
            panels = own.panels_of(weight)
            for rows in ROWS:
                expected = own.linear(x[:rows], weight, "float32", bias)
                assert np.array_equal(own.linear_packed(x[:rows], panels, bias, columns), expected)


@pytest.mark.slow
@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize(("kind", "dtype"), ALL_PRODUCTS)
def test_a_product_is_the_same_on_any_number_of_threads(kind: str, dtype: str) -> None:
    product = Product(kind, dtype, 800, 300)
    for rows in (1, 5, 11, 12, MOST_ROWS):
        x = random(rows, 800, seed=2)
        own.kernels.set_threads(1)
        expected = product(x)
        for threads in THREADS:
            own.kernels.set_threads(threads)
            assert np.array_equal(product(x), expected), (rows, threads)


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize(("kind", "dtype"), PRODUCTS)
def test_a_product_of_large_and_of_denormal_numbers_is_that_in_float64(kind: str, dtype: str) -> None:
    for size in (SIZES[dtype]["large"], SIZES[dtype]["denormal"]):
        for depth, rows in ((17, 3), (397, 13)):
            product = Product(kind, dtype, depth, 33, size)
            for x_size in (1e15, 1.0, 1e-40):
                x = random(rows, depth, seed=2, size=x_size)
                assert_within(product(x), *product.in_float64(x), size, depth, x_size)


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_number_of_16_bits_is_read_as_what_it_is(dtype: str) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(1, -1)
    weight: np.ndarray[Any, Any] = bits.view(np.float16) if dtype == "float16" else bits
    widened = (bits.astype(np.uint32) << 16).view(np.float32)
    expected = weight.astype(np.float32) if dtype == "float16" else widened
    one, nothing = np.ones((1, 1), np.float32), np.full(1 << 16, -0.0, np.float32)
    np.testing.assert_array_equal(own.linear(one, weight, dtype, nothing), expected)
    np.testing.assert_array_equal(own.lm_head(one, weight.T.copy(), dtype), expected)


@pytest.mark.usefixtures("instructions")
def test_zeros_give_the_bias_and_nothing_else() -> None:
    for kind, dtype in ALL_PRODUCTS:
        product = Product(kind, dtype, 33, 40)
        zeros = product(np.zeros((MOST_ROWS, 33), np.float32))
        np.testing.assert_array_equal(zeros, [product.bias] * MOST_ROWS, f"{kind} {dtype}")


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize(("kind", "dtype"), ALL_PRODUCTS)
def test_what_is_not_finite_reaches_its_own_row_and_no_other(kind: str, dtype: str) -> None:
    product = Product(kind, dtype, 97, 33)
    for rows in (1, 9, MOST_ROWS):
        x = random(rows, 97, seed=2)
        expected, kept = product(x), np.arange(rows) != rows // 2
        for special, place in itertools.product((np.nan, np.inf, -np.inf), (0, 50, 96)):
            marred = x.copy()
            marred[rows // 2, place] = special
            result = product(marred)
            # In int8 there is no infinity, so that a row which is not finite has no product at all.
            lost = np.isnan if np.isnan(special) or kind == "linear_int8" else np.isinf
            assert lost(result[rows // 2]).all(), (rows, special, place)
            assert np.array_equal(result[kept], expected[kept]), (rows, special, place)


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("dtype", [*CODES, "int8"])
@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_what_is_not_finite_in_a_weight_reaches_its_own_column_and_no_other(
    dtype: str, special: float
) -> None:
    x, weight, bias = random(13, 97, seed=2), random(97, 33), np.zeros(33, np.float32)

    def compute() -> Array:
        if dtype == "int8":
            return own.linear_int8(x, own.packed(weight), bias, 33)
        return own.linear(x, stored(weight, dtype)[0], dtype, bias)

    expected = compute()
    weight[40, 20] = special
    result = compute()
    assert not np.isfinite(result[:, 20]).any()
    others = np.arange(33) != 20
    np.testing.assert_array_equal(result[:, others], expected[:, others])


def attended(
    queries: Array, keys: Array, values: Array, scale: float, window: int = 0
) -> tuple[Array, Array]:
    """Return attention by its reference, and how far float32 may lie from it."""
    queries, keys, values = (part.astype(np.float64) for part in (queries, keys, values))
    keys, values = (part.repeat(queries.shape[1] // part.shape[1], axis=1) for part in (keys, values))
    seen, width = keys.shape[2:]
    weights = references.attention_weights(queries, keys, scale, window)
    # A score's error d changes a weight by the factor exp(d), and so does that of the largest.
    errors = (width + 4) * UNIT * scale * (np.abs(queries) @ np.abs(keys).swapaxes(-1, -2))
    factor = np.expm1(2 * errors.max(-1, keepdims=True)) + (seen + 20) * UNIT
    bound = factor * (weights @ np.abs(values)) + np.exp(-87) * np.abs(values).max()
    return references.attention(weights, values), bound


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_attention_of_any_size_is_that_in_float64(width: int) -> None:
    for time in TIMES:
        for past in (0, 1, 7, 15, 16, 100):
            queries = random(2, 3, time, width)
            keys, values = (random(2, 3, past + time, width, seed=seed) for seed in (1, 2))
            expected = attended(queries, keys, values, 0.3)
            for instructions in INSTRUCTION_SETS:
                with running(instructions):
                    found = own.attention(queries, keys, values)
                assert_within(found, *expected, instructions, time, past)


# Longer and shorter than a group of queries, a vector, and a block of values; and than the text.
WINDOWS = (1, 2, 3, 4, 5, 15, 16, 17, 33, 64, 70, 171, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("heads", [(1, 1), (6, 1), (6, 3), (5, 5)])
def test_attention_in_a_window_and_by_shared_keys_is_that_in_float64(
    window: int, heads: tuple[int, int]
) -> None:
    for width in (1, 17, 32):
        for time in (1, 3, 4, 9, 32, 69):
            for past in (0, 1, 3, 64, 100):
                queries = random(2, heads[0], time, width)
                keys, values = (random(2, heads[1], past + time, width, seed=seed) for seed in (1, 2))
                expected = attended(queries, keys, values, 0.3, window)
                for instructions in INSTRUCTION_SETS:
                    with running(instructions):
                        found = own.attention(queries, keys, values, window=window)
                    assert_within(found, *expected, instructions, width, time, past)


@pytest.mark.slow
@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("window", [1, 3, 4, 5, 18, 70])
def test_a_query_of_a_window_attends_alone_as_it_does_in_a_block(window: int) -> None:
    time, past = 70, 13
    queries = random(2, 4, time, 20)
    keys, values = (random(2, 2, past + time, 20, seed=seed) for seed in (1, 2))
    block = own.attention(queries, keys, values, window=window)
    for threads in (1, 3):
        own.kernels.set_threads(threads)
        for start in range(time):
            for end in {start + 1, start + 4, start + 32, time} & set(range(time + 1)):
                seen = past + end
                part = own.attention(
                    queries[:, :, start:end], keys[:, :, :seen], values[:, :, :seen], window=window
                )
                np.testing.assert_array_equal(part, block[:, :, start:end])


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("time", [8, 70])
def test_a_query_sees_nothing_before_its_window_be_it_finite_or_not(time: int) -> None:
    past = 3
    queries = random(1, 1, time, 20)
    keys, values = (random(1, 1, past + time, 20, seed=seed) for seed in (1, 2))
    for window in (1, 2, 4, 7, 33):
        expected = own.attention(queries, keys, values, window=window)
        for special, key in itertools.product((np.nan, np.inf), range(0, past + time, 5)):
            marred_keys, marred_values = keys.copy(), values.copy()
            marred_keys[:, :, key] = marred_values[:, :, key] = special
            result = own.attention(queries, marred_keys, marred_values, window=window)[0, 0]
            positions = past + np.arange(time)
            sees = (key <= positions) & (positions < key + window)
            assert np.array_equal(result[~sees], expected[0, 0, ~sees]), (window, special, key)
            assert not np.isfinite(result[sees]).any(), (window, special, key)


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("time", [1, 6, 40])
def test_a_window_beyond_the_text_changes_nothing(time: int) -> None:
    queries = random(2, 3, time, 20)
    keys, values = (random(2, 3, 9 + time, 20, seed=seed) for seed in (1, 2))
    expected = own.attention(queries, keys, values)
    for window in (9 + time, 10 + time, 1 << 40, (1 << 63) - 1):
        np.testing.assert_array_equal(own.attention(queries, keys, values, window=window), expected)


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("time", [1, 6, 40])
@pytest.mark.parametrize("past", [0, 5])
def test_heads_may_share_keys_and_lie_as_any_projection_has_them(time: int, past: int) -> None:
    queries = random(2, 6, time, 20)
    keys, values = (random(2, 2, past + time, 20, seed=seed) for seed in (1, 2))
    shared = own.attention(queries, keys, values)
    keys, values = (part.repeat(3, axis=1) for part in (keys, values))
    np.testing.assert_array_equal(own.attention(queries, keys, values), shared)
    np.testing.assert_array_equal(own.attention(queries, keys, values, by_head=True), shared)


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("size", [0.0, 1e-40, 1e-20, 1e2, 1e15])
def test_attention_to_numbers_of_any_size_is_that_in_float64(size: float) -> None:
    queries, keys = (
        random(1, 2, 6, 20, size=min(size, 30.0)),
        random(1, 2, 9, 20, seed=1, size=min(size, 30.0)),
    )
    values = random(1, 2, 9, 20, seed=2, size=size)
    expected, bound = attended(queries, keys, values, 0.3)
    assert_within(own.attention(queries, keys, values), expected, bound + 30 * TINY)


@pytest.mark.slow
@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("width", WIDTHS)
def test_a_query_attends_alone_as_it_does_in_a_block(width: int) -> None:
    time, past = 35, 13
    queries = random(2, 3, time, width)
    keys, values = (random(2, 3, past + time, width, seed=seed) for seed in (1, 2))
    block = own.attention(queries, keys, values)
    for threads in (1, 3):
        own.kernels.set_threads(threads)
        for start in range(time):
            for end in {start + 1, start + 4, start + 32, time} & set(range(time + 1)):
                seen = past + end
                part = own.attention(queries[:, :, start:end], keys[:, :, :seen], values[:, :, :seen])
                np.testing.assert_array_equal(part, block[:, :, start:end])
    for row in range(2):
        alone = own.attention(queries[row:][:1], keys[row:][:1], values[row:][:1])
        np.testing.assert_array_equal(alone[0], block[row])


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("special", [np.nan, np.inf])
@pytest.mark.parametrize("time", [8, 35])
def test_a_query_sees_nothing_of_what_comes_later_be_it_finite_or_not(special: float, time: int) -> None:
    past = 3
    queries = random(1, 1, time, 20)
    keys, values = (random(1, 1, past + time, 20, seed=seed) for seed in (1, 2))
    expected = own.attention(queries, keys, values)
    for query in range(1, time):
        later_keys, later_values = keys.copy(), values.copy()
        later_keys[:, :, past + query] = later_values[:, :, past + query] = special
        result = own.attention(queries, later_keys, later_values)
        np.testing.assert_array_equal(result[:, :, :query], expected[:, :, :query])
        assert not np.isfinite(result[:, :, query:]).any()


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("time", [1, 5, 35])
def test_attention_is_the_same_on_any_number_of_threads(time: int) -> None:
    queries = random(2, 3, time, 40)
    keys, values = (random(2, 3, 20 + time, 40, seed=seed) for seed in (1, 2))
    expected = own.attention(queries, keys, values)
    for threads in THREADS:
        own.kernels.set_threads(threads)
        np.testing.assert_array_equal(own.attention(queries, keys, values), expected)


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("time", [1, 2, 9, 40])
@pytest.mark.parametrize("past", [0, 1, 20])
def test_queries_that_nobody_reads_are_left_out(time: int, past: int) -> None:
    qkv = random(2, time, 6, 20)
    room = past + time

    def attended(first: int) -> tuple[Array, ...]:
        out = own.filled(2, time - first, 40)
        if not past:
            heads = (qkv[:, :, :2], qkv[:, :, 2:4], qkv[:, :, 4:])
            own.kernels.attention(*heads, None, None, None, first, 0.3, 0, out)
            return (out,)
        rows = qkv.reshape(1, 2 * time, 6, 20)
        held = tuple(random(2, 2 * room, 20, seed=seed) for seed in (1, 2))
        spans = np.array([[row * room, past, time, first] for row in range(2)])
        heads = (rows[:, :, :2], rows[:, :, 2:4], rows[:, :, 4:])
        own.kernels.attention(*heads, *held, spans, 0, 0.3, 0, out)
        return out, *held

    whole, *held = attended(0)
    for first in {1, time // 2, time - 1, time}:
        out, *kept = attended(first)
        np.testing.assert_array_equal(out, whole[:, first:])
        for mine, expected in zip(kept, held, strict=True):
            np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize("width", [2, 3, 20, 64])
@pytest.mark.parametrize("neighbours", [False, True])
@pytest.mark.parametrize("size", [0.0, 1e-40, 1.0, 1e30])
def test_heads_are_rotated_as_in_float64(width: int, neighbours: bool, size: float) -> None:
    for heads, kv_heads, time in ((1, 1, 1), (3, 1, 5), (6, 2, 70)):
        for pairs in {1, width // 4, width // 2} - {0}:
            qkv = random(2, time, heads + 2 * kv_heads, width, size=size)
            angles = random(time, pairs, seed=1, size=9.0)
            cosines, sines = np.cos(angles), np.sin(angles)
            parts = (slice(heads), slice(heads, heads + kv_heads))
            expected = qkv.astype(np.float64)
            for part in parts:
                expected[:, :, part] = references.rotate(qkv[:, :, part], cosines, sines, neighbours)
            bound = 3 * UNIT * np.abs(qkv).astype(np.float64).max(initial=0.0) + 3 * TINY
            rows = []
            for threads in (1, 3):
                with running(threads=threads):
                    found = qkv.copy()
                    own.kernels.rotate(*(found[:, :, part] for part in parts), cosines, sines, neighbours)
                assert_within(found, expected, np.full(found.shape, bound))
                np.testing.assert_array_equal(found[..., 2 * pairs :], qkv[..., 2 * pairs :])
                rows.append(found)
            np.testing.assert_array_equal(rows[0], rows[1])
            # Each row and position as it is alone.
            last = qkv[1:, -1:].copy()
            own.kernels.rotate(*(last[:, :, part] for part in parts), cosines[-1:], sines[-1:], neighbours)
            np.testing.assert_array_equal(last, rows[0][1:, -1:])


def normed(x: Array, weight: Array, bias: Array, epsilon: float) -> tuple[Array, Array]:
    """Return the norm of rows by its reference, and how far float32 may lie from it."""
    x, weight, bias = (part.astype(np.float64) for part in (x, weight, bias))
    width = x.shape[-1]
    centered = x - x.mean(-1, keepdims=True)
    variance = np.square(centered).mean(-1, keepdims=True)
    scale = 1 / np.sqrt(variance + epsilon)
    mean_error = (width + 2) * UNIT * np.abs(x).mean(-1, keepdims=True)
    relative = (width + 10) * UNIT + np.square(mean_error * scale)
    error = mean_error * scale + np.abs(centered) * scale * relative
    expected = references.layer_norm(x, weight, bias, epsilon)
    return expected, np.abs(weight) * error + 2 * UNIT * np.abs(bias) + TINY


@pytest.mark.usefixtures("instructions")
def test_a_layer_norm_of_any_size_is_that_in_float64() -> None:
    for size, shift, width in itertools.product((0.0, 1e-40, 1e-3, 1.0, 1e15), (0.0, 50.0), DEPTHS):
        x = random(5, width, size=size) + np.float32(shift * size)
        weight, bias = random(width, seed=1), random(width, seed=2)
        expected, bound = normed(x, weight, bias, 1e-5)
        assert_within(own.layer_norm(x, weight, bias), expected, bound, size, shift, width)


@pytest.mark.usefixtures("instructions")
def test_a_layer_norm_without_a_bias_is_that_with_zeros() -> None:
    x, weight = random(5, 193), random(193, seed=1)
    expected = own.layer_norm(x, weight, np.zeros(193, np.float32))
    np.testing.assert_array_equal(own.layer_norm(x, weight, None), expected)


@pytest.mark.usefixtures("instructions")
def test_an_rms_norm_of_any_size_is_that_in_float64() -> None:
    for size, width in itertools.product((0.0, 1e-40, 1e-3, 1.0, 1e15), DEPTHS):
        x, weight = random(5, width, size=size), random(width, seed=1)
        expected = references.rms_norm(x, weight, 1e-5)
        bound = np.abs(expected) * (width + 10) * UNIT + TINY
        assert_within(own.rms_norm(x, weight), expected, bound, size, width)


NORMS: dict[str, Callable[[Array], Array]] = {
    "layer_norm": lambda x: own.layer_norm(x, random(x.shape[1], seed=1), random(x.shape[1], seed=2)),
    "rms_norm": lambda x: own.rms_norm(x, random(x.shape[1], seed=1)),
}


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("name", NORMS)
def test_a_row_is_normed_the_same_in_any_company_and_on_any_threads(name: str) -> None:
    # Enough for the pool to be asked.
    x = random(200, 193)
    alone = np.concatenate([NORMS[name](row[np.newaxis]) for row in x])
    for threads in THREADS:
        own.kernels.set_threads(threads)
        np.testing.assert_array_equal(NORMS[name](x), alone)


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("name", NORMS)
def test_a_row_that_is_not_finite_reaches_no_other_norm(name: str) -> None:
    x = random(4, 33)
    expected = NORMS[name](x)
    x[1, 32], x[2, 0] = np.nan, np.inf
    result = NORMS[name](x)
    assert np.isnan(result[1]).all()
    assert np.isnan(result[2, 0])
    np.testing.assert_array_equal(result[[0, 3]], expected[[0, 3]])


# Of the activations that the kernels know, numpy's name.
ACTIVATED = {"gelu_tanh": "gelu_new", "gelu": "gelu", "silu": "silu"}


def activated(x: Array, name: str) -> tuple[Array, Array]:
    """Return an activation by its reference, and how far float32 may lie from it."""
    wide = x.astype(np.float64)
    result = references.ACTIVATIONS[name](x)
    exponent = wide
    if name == "gelu_tanh":
        exponent = wide * (1 + 0.044715 * wide * wide) * np.sqrt(8 / np.pi)
    # An exponential's relative error is the absolute one of its exponent.
    bound = np.abs(result) * UNIT * (10 + 6 * np.minimum(np.abs(exponent), 90))
    if name == "gelu":
        # That of the polynomial for erf, and of its rounding.
        bound += np.abs(wide) * (1.5e-7 / 2 + 4 * UNIT)
    return result, bound + np.abs(wide) * np.exp(-87) + TINY


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("name", ACTIVATED)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40))
@settings(max_examples=settings().max_examples * 3 // 5)
def test_the_activation_of_any_number_is_that_in_float64(name: str, numbers: list[float]) -> None:
    x = np.array(numbers, np.float32)
    assert_within(own.activated(x, name), *activated(x, name))


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("name", ACTIVATED)
def test_the_activation_is_the_same_in_any_company_and_on_any_threads(name: str) -> None:
    x = random(10 * 4096 + 7, size=4.0)
    alone = np.concatenate([own.activated(part, name) for part in np.array_split(x, 2000)])
    assert_within(alone, *activated(x, name))
    for threads in THREADS:
        own.kernels.set_threads(threads)
        np.testing.assert_array_equal(own.activated(x, name), alone)


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("name", ACTIVATED)
def test_the_activation_of_the_largest_numbers_is_that_of_numpy(name: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e38, -3e38, 1e30, -1e30, 1e4, -1e4, 0.0, -0.0], np.float32)
    with np.errstate(all="ignore"):
        expected = ACTIVATIONS[ACTIVATED[name]](x)
    np.testing.assert_array_equal(own.activated(x, name), expected)


@pytest.mark.usefixtures("instructions")
def test_token_statistics_are_those_in_float64() -> None:
    for vocabulary in (1, 2, 15, 16, 17, 255, 256, 257, 1000):
        logits, starts = random(19, vocabulary, size=4.0), (random(vocabulary, seed=1) > 0).astype(np.float32)
        # A row of equals, one with an impossible token, and one that is all but certain.
        logits[1], logits[2, 1:2], logits[3, 0], starts[0] = 0.5, -np.inf, 300.0, 1.0
        targets = np.random.default_rng(0).integers(0, vocabulary, 19)
        targets[2] = 0
        found = own.token_statistics(logits, targets, starts)
        expected = references.token_statistics(logits, targets, starts)
        np.testing.assert_array_equal(found[2], expected[2])
        # Below the least float32, the probability that a word begins counts as that.
        expected[3] = np.maximum(expected[3], np.log(np.finfo(np.float32).tiny))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)
        unasked = own.token_statistics(logits, targets, None)
        np.testing.assert_array_equal(unasked[:3], found[:3])
        assert np.isnan(unasked[3]).all()


@pytest.mark.usefixtures("instructions")
def test_token_statistics_are_the_same_on_any_number_of_threads() -> None:
    logits, targets = random(19, 1000), np.arange(19)
    expected = own.token_statistics(logits, targets, None)
    for threads in THREADS:
        own.kernels.set_threads(threads)
        np.testing.assert_array_equal(own.token_statistics(logits, targets, None), expected)


def test_every_operation_of_the_module_has_a_reference() -> None:
    # These have tests of their own, or are part of others.
    others = {"set_threads", "threads", "use", "choose", "checksum", "watch_mapping"}
    others |= {"linear_packed", "pack", "panel_columns"}
    functions = {name for name in dir(own.kernels) if callable(getattr(own.kernels, name)) and name[0] != "_"}
    assert functions - others <= set(dir(references))


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize(("kind", "dtype"), [pair for pair in ALL_PRODUCTS if pair[0] != "lm_head"])
def test_an_epilogue_changes_the_numbers_of_a_product_alone(kind: str, dtype: str) -> None:
    for depth, columns in ((97, 33), (385, 70)):
        product = Product(kind, dtype, depth, columns)
        for rows in (1, 5, 8, MOST_ROWS):
            x, residual = random(rows, depth, seed=2), random(rows, columns, seed=3)
            plain, gate = product(x), random(rows, columns, seed=4)
            np.testing.assert_array_equal(product(x, gate=gate), plain * gate)
            np.testing.assert_array_equal(product(x, residual=residual), plain + residual)
            for name in ACTIVATED:
                activated = own.activated(plain, name)
                np.testing.assert_array_equal(product(x, name), activated)
                np.testing.assert_array_equal(product(x, name, gate, residual), activated * gate + residual)


@pytest.mark.usefixtures("instructions")
def test_a_product_without_a_bias_is_that_with_zeros() -> None:
    for kind, dtype in (pair for pair in ALL_PRODUCTS if pair[0] != "lm_head"):
        product = Product(kind, dtype, 97, 33)
        for rows in (1, 5, 8, MOST_ROWS):
            x = random(rows, 97, seed=2)
            product.bias = np.zeros(33, np.float32)
            expected = product(x)
            product.bias = None
            np.testing.assert_array_equal(product(x), expected, f"{kind} {dtype}, {rows} rows")


def test_no_rows_no_columns_and_no_time_are_no_work() -> None:
    for rows, columns in ((0, 3), (3, 0), (0, 0)):
        bias = np.zeros(columns, np.float32)
        x, weight = random(rows, 4), random(4, columns)
        assert own.linear(x, weight, "float32", bias).shape == (rows, columns)
        assert own.lm_head(x, weight.T.copy(), "float32").shape == (rows, columns)
        assert own.linear_packed(x, own.panels_of(weight), bias, columns).shape == (rows, columns)
        assert own.linear_int8(x, own.packed(weight), bias, columns).shape == (rows, columns)
    assert own.layer_norm(random(0, 4), random(4), random(4)).shape == (0, 4)
    assert own.rms_norm(random(0, 4), random(4)).shape == (0, 4)
    assert own.activated(random(0), "silu").shape == (0,)
    for shape in ((0, 2, 3, 4), (2, 2, 0, 4)):
        assert own.attention(random(*shape), random(*shape), random(*shape)).shape == shape


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000, (1 << 20) + 3])
def test_a_checksum_changes_with_every_bit_and_with_no_number_of_threads(size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    sums = {own.kernels.checksum(data)}
    own.kernels.set_threads(1)
    assert own.kernels.checksum(data) in sums
    own.kernels.set_threads(2)
    bits = [(place, bit) for place in {0, size // 2, size - 1} if size for bit in range(8)]
    for place, bit in bits:
        data[place] ^= 1 << bit
        sums.add(own.kernels.checksum(data))
        data[place] ^= 1 << bit
    assert len(sums) == 1 + len(bits)
    assert len({own.kernels.checksum(np.zeros(length, np.uint8)) for length in range(100)}) == 100
