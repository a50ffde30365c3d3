"""Choosing tokens by the kernels, against the chain of filters on numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from backends import needs_kernels
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.generation.sampling import ALL_BANNED, NOT_A_NUMBER, Filters, Scores, choose
from gpt2cli.ops.backend import kernels_are_built

pytestmark = needs_kernels

if kernels_are_built():
    from gpt2cli.ops import kernels
    from gpt2cli.ops.compiled_ops import CompiledOps

VOCABULARIES = (1, 2, 7, 15, 16, 17, 131, 1000, 5003)
FILTERS = st.builds(
    Filters,
    st.sampled_from([0.0, 1e-30, 0.1, 0.8, 1.0, 2.0]),
    st.sampled_from([0, 1, 3, 40, 2000]),
    st.sampled_from([1.0, 0.999, 0.95, 0.5, 0.01]),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    st.floats(0, 1, exclude_max=True),
)


@pytest.fixture(params=["generic", "avx2", "avx512"])
def instructions(request: pytest.FixtureRequest) -> Any:
    try:
        kernels.use(request.param)
    except ValueError:
        pytest.skip("this processor has no such instructions")
    yield
    kernels.use(None)


def logits(vocabulary: int, seed: int) -> Scores:
    """Return logits, of which some are alike, banned, close to each other or far apart."""
    numbers = np.random.default_rng(seed)
    scores: Scores = (numbers.standard_normal(vocabulary) * numbers.choice([0.1, 1, 5, 30])).astype(
        np.float32
    )
    if seed % 3 == 0:
        scores = np.round(scores)
    if seed % 4 == 0:
        scores[numbers.random(vocabulary) < 0.5] = -np.inf
    return scores


@pytest.mark.usefixtures("instructions")
def test_tokens_are_those_of_the_chain_on_numpy() -> None:
    @given(st.sampled_from(VOCABULARIES), st.integers(0, 10**6), st.lists(FILTERS, min_size=1, max_size=5))
    def check(vocabulary: int, seed: int, filters: list[Filters]) -> None:
        rows = [logits(vocabulary, seed + number) for number in range(len(filters))]
        expected = [choose(row, *each) for row, each in zip(rows, filters, strict=True)]
        assert CompiledOps().choose(rows, filters) == expected

    check()


@pytest.mark.usefixtures("instructions")
def test_draws_at_all_positions_are_the_distribution() -> None:
    scores = logits(300, 1)
    positions = (np.arange(4000) + 0.5) / 4000
    filters = [Filters(1.0, 0, 1.0, 0.0, position) for position in positions.tolist()]
    counts = np.bincount(CompiledOps().choose([scores] * 4000, filters) or [], minlength=300)
    weights = np.exp(scores.astype(np.float64))
    assert np.abs(counts - 4000 * weights / weights.sum()).max() <= 1


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("place", [0, 20, 39])
def test_what_is_wrong_with_logits_is_told_apart(place: int) -> None:
    whole, banned = np.zeros(40, np.float32), np.full(40, -np.inf, np.float32)
    rows = [whole, banned, whole.copy(), whole.copy(), banned.copy()]
    rows[2][place], rows[3][place], rows[4][place] = np.nan, np.inf, -3.0
    filters = [Filters(1.0, 5, 1.0, 0.0, 0.0)] * 5
    expected = [0, ALL_BANNED, NOT_A_NUMBER, NOT_A_NUMBER, place]
    assert CompiledOps().choose(rows, filters) == expected == [choose(row, *filters[0]) for row in rows]


@pytest.mark.parametrize(
    ("rows", "shape"),
    [
        ([np.zeros(4, np.float32), np.zeros(5, np.float32)], (2, 5)),
        ([np.zeros((2, 4), np.float32)], (1, 5)),
        ([np.zeros(4)], (1, 5)),
        ([np.zeros(0, np.float32)], (1, 5)),
        ([np.zeros(8, np.float32)[::2]], (1, 5)),
        ([np.zeros(4, np.float32)], (1, 4)),
        ([np.zeros(4, np.float32)], (2, 5)),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises((ValueError, BufferError)):
        kernels.choose(rows, np.ones(shape), np.empty(len(rows), np.int64))
    with pytest.raises(TypeError):
        kernels.choose(3, np.ones((0, 5)), np.empty(0, np.int64))  # type: ignore[arg-type]
    kernels.choose([], np.ones((0, 5)), np.empty(0, np.int64))
