"""How lines are handed out to the workers of a cluster, whose time is simulated."""

from __future__ import annotations

import random

import pytest
from cluster_simulation import LOAD_SECONDS, ROWS, simulate, skewed_seconds
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2cli.errors import Error
from gpt2cli.serving.cluster import MOST_DEATHS

LINES = 1_500


def forever() -> float:
    return float("inf")


@settings(max_examples=15)
@given(st.integers(1, 9), st.integers(0, 99), st.sampled_from([120.0, 600.0]))
def test_each_line_is_answered_once_and_in_order_however_many_workers_are_lost(
    workers: int, seed: int, lifetime: float
) -> None:
    draw = random.Random(seed)
    # A worker lives long enough to load its model, so that the run comes to an end.
    run = simulate(
        workers, LINES, skewed_seconds(LINES), lambda: LOAD_SECONDS + 60 + draw.expovariate(1 / lifetime)
    )
    assert run.written == list(range(1, LINES + 1))
    assert run.ray.started == workers + len(run.notes)


def test_without_losses_nothing_is_done_twice_and_the_workers_share_the_work() -> None:
    seconds = skewed_seconds(LINES)
    one, four = (simulate(workers, LINES, seconds, forever) for workers in (1, 4))
    assert one.written == four.written == list(range(1, LINES + 1))
    assert one.ray.computed == pytest.approx(four.ray.computed)
    assert four.ray.started == 4
    # The clock is simulated, and so this is no matter of the machine.
    assert one.ray.now / four.ray.now > 3.5


def test_a_line_that_costs_every_worker_its_life_is_given_up_and_the_others_are_answered() -> None:
    run = simulate(3, LINES, skewed_seconds(LINES), forever, deadly=[700])
    assert run.failed == [700]
    assert run.written == list(range(1, LINES + 1))
    assert run.ray.started == 3 + MOST_DEATHS


def test_workers_that_never_start_end_the_run() -> None:
    with pytest.raises(Error, match="The workers of the cluster do not start"):
        simulate(2, 10, lambda _: 1.0, lambda: 0.0)


def test_few_lines_are_spread_over_all_workers() -> None:
    run = simulate(4, 4 * ROWS, lambda _: 1.0, forever)
    assert run.ray.now < LOAD_SECONDS + 1.5
