"""Products in int8: exact integer sums, and an error bounded by the two roundings."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import kernel_arrays as own
import numpy as np
import pytest
import references
from kernel_arrays import INT8_INSTRUCTION_SETS, UNIT, Array, assert_within, random, running
from references import INT8_QMAX, INT15_QMAX, rounded

MAX_DEPTH = 1 << 16
DEPTHS = (1, 2, 3, 4, 5, 15, 16, 17, 97, 193, 1024)
COLUMNS = (1, 31, 32, 33, 64, 100)


@pytest.fixture(params=INT8_INSTRUCTION_SETS)
def instructions(request: pytest.FixtureRequest) -> Iterator[str]:
    with running(request.param):
        yield request.param


def whole_numbers(rows: int, columns: int, most: int, axis: int, seed: int) -> Array:
    """Return float32 numbers that are whole and at most `most`, and so on each line of the axis."""
    numbers = np.random.default_rng(seed).integers(-most, most, (rows, columns), endpoint=True)
    np.moveaxis(numbers, axis, 0)[-1] = most
    return numbers.astype(np.float32)


def test_a_matrix_is_packed_as_the_reference_packs_it() -> None:
    for depth in DEPTHS:
        for columns in COLUMNS:
            weight = (random(depth, columns) * np.logspace(-30, 30, columns)).astype(np.float32)
            expected = references.pack_int8(weight)
            for actual, part in zip(own.packed(weight), expected, strict=True):
                np.testing.assert_array_equal(actual, part)


@pytest.mark.parametrize(
    "view",
    [
        lambda weight: weight,
        lambda weight: weight.T,
        lambda weight: weight[::-1, ::-1],
        lambda weight: weight[1::3, 2::2],
        lambda weight: np.broadcast_to(weight[:1], (9, weight.shape[1])),
    ],
    ids=["whole", "transposed", "backwards", "sliced", "repeated"],
)
def test_a_matrix_may_lie_in_memory_as_it_likes(view: Callable[[Array], Array]) -> None:
    weight = view(random(37, 50))
    for actual, expected in zip(own.packed(weight), own.packed(weight.copy()), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("rows", [1, 2, 5, 6, 7, 13])
def test_sums_of_whole_numbers_are_exact(rows: int) -> None:
    for depth in DEPTHS:
        for columns in COLUMNS:
            x = whole_numbers(rows, depth, INT15_QMAX, axis=1, seed=depth)
            weight = whole_numbers(depth, columns, INT8_QMAX, axis=0, seed=columns)
            matrix = own.packed(weight)
            assert (matrix.scales[:columns] == 1).all()
            expected = (x.astype(np.int64) @ weight.astype(np.int64)).astype(np.float32)
            np.testing.assert_array_equal(own.linear_int8(x, matrix, None, columns), expected)


@pytest.mark.usefixtures("instructions")
def test_a_product_is_that_of_the_rounded_factors() -> None:
    for depth in DEPTHS:
        x, weight, bias = random(9, depth, size=3.0), random(depth, 40), random(40, seed=1)
        rows, columns = rounded(x.T, INT15_QMAX), rounded(weight, INT8_QMAX)
        scale = rows.scales[:, np.newaxis].astype(np.float64) * columns.scales
        size = (np.abs(rows.whole.T) + 64) @ np.abs(columns.whole)
        # The sums of the high and the low halves are rounded, and the scales they are multiplied by.
        bound = 6 * UNIT * (size * scale + np.abs(bias))
        expected = references.linear_int8(x, weight, bias)
        assert_within(own.linear_int8(x, own.packed(weight), bias, 40), expected, bound)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2, 4, 5, 12, 13, 25])
@pytest.mark.parametrize("middle", [0, 40, -90])
def test_coarse_sums_of_whole_numbers_are_exact(rows: int, middle: int, instructions: str) -> None:
    for depth in DEPTHS[1:]:
        for columns in COLUMNS:
            x = whole_numbers(rows, depth, INT8_QMAX, axis=1, seed=depth) + np.float32(middle)
            # Both extremes are there, so that a step is 1.
            x[:, 0] = middle - INT8_QMAX
            weight = whole_numbers(depth, columns, INT8_QMAX, axis=0, seed=columns)
            expected = (x.astype(np.int64) @ weight.astype(np.int64)).astype(np.float32)
            result = own.linear_int8(x, own.packed(weight), None, columns, bits=8)
            # Where 15 bits cost no more than 8 they are used, and there is no middle.
            is_coarse = instructions in ("avx512", "amx", "dotprod", "i8mm")
            step = 0 if is_coarse else np.abs(x).max(1, keepdims=True) / INT15_QMAX
            bound = abs(middle) and 2 + step / 2 * np.abs(weight).sum(0)
            assert_within(result, expected, np.broadcast_to(bound, expected.shape))


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("bits", [15, 8])
def test_a_product_errs_by_half_a_step_of_each_factor(bits: int) -> None:
    for size, offset, depth in itertools.product((1e-15, 1.0, 1e15), (0.0, 0.7, -3.0), DEPTHS):
        x, weight, bias = random(7, depth, size=size), random(depth, 40), random(40, seed=1)
        x += np.float32(offset * size)
        wide, exact = np.abs(x.astype(np.float64)), np.abs(weight.astype(np.float64))
        x_step = wide.max(axis=1, keepdims=True) / INT15_QMAX / 2
        if bits == 8:
            span = np.maximum(x, 0).max(axis=1, keepdims=True) - np.minimum(x, 0).min(axis=1, keepdims=True)
            x_step = span.astype(np.float64) / 2 / INT8_QMAX / 2
        step = exact.max(axis=0) / INT8_QMAX / 2
        bound = wide.sum(1, keepdims=True) * step + exact.sum(0) * x_step + depth * step * x_step
        # Around a middle there are two products, of it and of what is left.
        products = 2 if bits == 8 else 1
        bound = 1.001 * bound + (depth + 3) * UNIT * products * (wide @ exact + np.abs(bias))
        expected = x.astype(np.float64) @ weight + bias
        result = own.linear_int8(x, own.packed(weight), bias, 40, bits)
        assert_within(result, expected, bound, size, offset, depth)


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("outlier", [1e3, -1e3, 1e30])
def test_a_row_of_outliers_keeps_15_bits(outlier: float) -> None:
    for depth in (193, 1024):
        x, weight = random(7, depth), random(depth, 40)
        x[:, 5] = outlier
        matrix = own.packed(weight)
        np.testing.assert_array_equal(
            own.linear_int8(x, matrix, None, 40, bits=8), own.linear_int8(x, matrix, None, 40, bits=15)
        )


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_row_is_the_same_beside_rows_of_outliers(share: float) -> None:
    weight, bias = random(97, 40), random(40, seed=1)
    matrix = own.packed(weight)
    for rows in (2, 5, 12, 13, 40):
        x, residual = random(rows, 97), random(rows, 40, seed=2)
        x[np.random.default_rng(rows).random(rows) < share, 5] = 1000
        x[rows // 2, 3] = np.nan
        alone = [
            own.linear_int8(x[i : i + 1], matrix, bias, 40, 8, "gelu_tanh", None, residual[i : i + 1])[0]
            for i in range(rows)
        ]
        together = own.linear_int8(x, matrix, bias, 40, 8, "gelu_tanh", None, residual)
        np.testing.assert_array_equal(together, alone)


@pytest.mark.usefixtures("instructions")
def test_numbers_whose_difference_is_no_float_have_a_middle() -> None:
    most = 0.9 * float(np.finfo(np.float32).max)
    x = np.array([[most, -most, most / 2, 0]], np.float32)
    result = own.linear_int8(x, own.packed(np.eye(4, dtype=np.float32)), None, 4, bits=8)
    np.testing.assert_allclose(result, x, rtol=0, atol=most / 127)


@pytest.mark.usefixtures("instructions")
def test_the_longest_sums_do_not_overflow() -> None:
    for x_sign, sign, part in itertools.product((1, -1), (1, -1), (INT15_QMAX, 64)):
        x = np.full((1, MAX_DEPTH), x_sign * part, np.float32)
        # Beside the last, all are as large as the upper half or the lower can be.
        x[0, -1] = INT15_QMAX
        weight = np.full((MAX_DEPTH, 1), sign * INT8_QMAX, np.float32)
        expected = int(x.astype(np.int64)[0] @ weight.astype(np.int64)[:, 0])
        result = own.linear_int8(x, own.packed(weight), None, 1)
        np.testing.assert_allclose(result, [[expected]], rtol=4 * UNIT)


@pytest.mark.usefixtures("instructions")
def test_the_longest_coarse_sums_do_not_overflow() -> None:
    for sign, turn in itertools.product((1, -1), (0, MAX_DEPTH // 2, MAX_DEPTH)):
        x = np.full((1, MAX_DEPTH), INT8_QMAX, np.float32)
        x[0, :turn] *= -1
        weight = np.full((MAX_DEPTH, 1), sign * INT8_QMAX, np.float32)
        # So that the sum is not zero where half of the numbers are below it.
        weight[: MAX_DEPTH // 4] *= -1
        expected = int(x.astype(np.int64)[0] @ weight.astype(np.int64)[:, 0])
        result = own.linear_int8(x, own.packed(weight), None, 1, bits=8)
        np.testing.assert_allclose(result, [[expected]], rtol=8 * UNIT)


def test_longer_sums_are_refused() -> None:
    depth = MAX_DEPTH + 1
    with pytest.raises(ValueError, match=r"int8 sums of 65537 products, more than 65536"):
        own.packed(np.ones((depth, 1), np.float32))


@pytest.mark.usefixtures("instructions")
def test_columns_of_zeros_have_no_scale_and_give_the_bias() -> None:
    weight, bias = random(33, 40), random(40, seed=1)
    weight[:, [0, 17, 39]] = 0
    matrix = own.packed(weight)
    assert not matrix.scales[[0, 17, 39]].any()
    for bits in (15, 8):
        result = own.linear_int8(random(5, 33, seed=2), matrix, bias, 40, bits)
        np.testing.assert_array_equal(result[:, [0, 17, 39]], [bias[[0, 17, 39]]] * 5)


@pytest.mark.usefixtures("instructions")
def test_numbers_too_small_for_a_scale_are_as_good_as_zero() -> None:
    bias = random(40, seed=1)
    tiny, usual = random(5, 33, size=1e-40), random(33, 40)
    for bits in (15, 8):
        result = own.linear_int8(tiny, own.packed(usual), bias, 40, bits)
        # The middle of a row is a float, however small.
        np.testing.assert_allclose(result, [bias] * 5, rtol=0, atol=1e-37 if bits == 8 else 0)
    tiny, usual = random(33, 40, size=1e-40), random(5, 33)
    for bits in (15, 8):
        result = own.linear_int8(usual, own.packed(tiny), bias, 40, bits)
        np.testing.assert_array_equal(result, [bias] * 5)
