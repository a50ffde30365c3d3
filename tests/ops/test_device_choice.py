"""Choosing on a device, against choosing row by row on the host."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from backends import needs_cuda

from gpt2cli.generation.choice.philox import DRAWS_AT_ONCE, Draws, uniform
from gpt2cli.generation.sampling import Filters, choose_each
from gpt2cli.ops.device.choice import RowFilters, choose
from gpt2cli.ops.numpy_ops import NumpyOps

VOCABULARY = 300
DEVICES = ["cpu", pytest.param("cuda", marks=(pytest.mark.cuda, needs_cuda))]


def on_device(rows: np.ndarray[Any, Any], filters: list[Filters], candidates: int, device: str) -> list[int]:
    columns = np.array(filters, np.float64).T
    columns[3] = [math.log(filter_.min_p) if filter_.min_p else -math.inf for filter_ in filters]
    tensors = RowFilters(*torch.from_numpy(columns).to(device))
    return choose(torch.from_numpy(rows).to(device), tensors, candidates).tolist()


def on_host(rows: np.ndarray[Any, Any], filters: list[Filters]) -> list[int]:
    return choose_each(NumpyOps(), list(rows), filters)


def any_filters(choice: np.random.Generator, count: int, top_k: tuple[int, ...]) -> list[Filters]:
    return [
        Filters(
            float(choice.choice([0.0, 0.3, 1.0, 2.5])),
            int(choice.choice(top_k)),
            float(choice.choice([0.1, 0.9, 1.0])),
            float(choice.choice([0.0, 0.02, 0.5])),
            float(choice.random()),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("candidates", "top_k"), [(VOCABULARY, (0, 1, 7, 40, 299, 300, 500)), (128, (1, 7, 40, 64))]
)
def test_a_device_chooses_what_the_host_does(device: str, candidates: int, top_k: tuple[int, ...]) -> None:
    choice = np.random.default_rng(candidates)
    rows = choice.normal(0.0, 3.0, (400, VOCABULARY)).astype(np.float32)
    # Half of the rows have ties, and tokens that cannot be.
    rows[::2] = rows[::2].round()
    rows[:, 5] = -np.inf
    filters = any_filters(choice, len(rows), top_k)
    assert on_device(rows, filters, candidates, device) == on_host(rows, filters)


@pytest.mark.parametrize("device", DEVICES)
def test_one_candidate_is_the_likeliest(device: str) -> None:
    rows = np.random.default_rng(0).normal(0.0, 3.0, (50, VOCABULARY)).astype(np.float32)
    filters = [Filters(0.0, 40, 0.9, 0.0, 0.5)] * len(rows)
    assert on_device(rows, filters, 1, device) == rows.argmax(-1).tolist()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("candidates", [1, 128, VOCABULARY])
def test_a_row_without_a_choice_says_why_and_spoils_no_other(device: str, candidates: int) -> None:
    rows = np.random.default_rng(1).normal(size=(4, VOCABULARY)).astype(np.float32)
    rows[0, 17], rows[1], rows[2, 3] = np.nan, -np.inf, np.inf
    filters = [Filters(1.0 if candidates > 1 else 0.0, 20, 0.9, 0.0, 0.3)] * 4
    found = on_device(rows, filters, candidates, device)
    assert found == on_host(rows, filters)
    assert found[:3] == [-1, -2, -1]


@pytest.mark.parametrize("temperature", [1e-38, 1e30])
def test_a_temperature_at_the_end_of_the_range_chooses_a_token(temperature: float) -> None:
    rows = np.random.default_rng(2).normal(0.0, 3.0, (20, VOCABULARY)).astype(np.float32)
    filters = [Filters(temperature, 0, 1.0, 0.0, place / 20) for place in range(20)]
    assert on_device(rows, filters, VOCABULARY, "cpu") == on_host(rows, filters)


def test_the_draws_of_a_sample_are_those_made_one_by_one() -> None:
    for seed, sample in ((0, 0), (2**64 - 1, 3), (7, 2**40)):
        draws = Draws(seed, sample)
        for step in (0, 1, DRAWS_AT_ONCE - 1, DRAWS_AT_ONCE, 3 * DRAWS_AT_ONCE, 5):
            assert draws.at(step) == uniform(seed, sample, step)
