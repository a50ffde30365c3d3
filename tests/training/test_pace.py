"""How long a run will take, and how it is shortened to fit its time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_training import SETTINGS

from gpt2cli.training.run import pace as module
from gpt2cli.training.run.pace import Pace

RUN = replace(SETTINGS, steps=100, evaluate_every=10, warmup_steps=10, minutes=1.0)


class Clock:
    """The seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def measured(clock: Clock, step: float, evaluation: float, spent: float = 0.0) -> Pace:
    """Return the pace of a run after an evaluation, a slow first step and two others."""
    pace = Pace(spent)
    pace.add_evaluation(evaluation)
    pace.add_step(9.0)
    assert not pace.is_measured
    for _ in range(2):
        pace.add_step(step)
    clock.now += evaluation + 9.0 + 2 * step
    assert pace.is_measured
    return pace


def test_the_first_step_foretells_nothing_but_all_evaluations_count(clock: Clock) -> None:
    pace = measured(clock, 0.5, 2.0)
    unlimited = replace(RUN, minutes=None)
    assert pace.steps_left(unlimited, 3) == 97
    assert pace.seconds_left(unlimited, 3) == pytest.approx(97 * 0.5 + 10 * 2.0)
    assert pace.seconds_left(replace(unlimited, steps=95), 90) == pytest.approx(5 * 0.5 + 2.0)
    assert pace.elapsed == pytest.approx(12.0)
    assert Pace(spent=7.0).elapsed == 7.0


def test_before_it_is_measured_a_run_is_expected_to_take_all_its_steps(clock: Clock) -> None:
    pace = Pace()
    pace.add_step(1e6)
    pace.add_step(1.0)
    assert pace.steps_left(RUN, 2) == 98


def test_a_run_that_fits_takes_all_its_steps(clock: Clock) -> None:
    pace = measured(clock, 0.1, 0.1)
    assert pace.steps_left(RUN, 3) == 97


@pytest.mark.parametrize("keep_interval", [False, True])
@pytest.mark.parametrize(("step", "evaluation"), [(1.0, 0.5), (0.1, 5.0), (3.0, 0.01)])
def test_a_run_that_does_not_fit_gets_as_many_steps_as_do(
    clock: Clock, step: float, evaluation: float, keep_interval: bool
) -> None:
    pace = measured(clock, step, evaluation)
    planned = replace(RUN, steps=1000, evaluate_every=25, warmup_steps=100)
    fitted = pace.fitted(planned, 3, keep_interval)
    left, seconds = pace.steps_left(fitted, 3), 60.0 - pace.elapsed
    assert pace.seconds_left(fitted, 3) <= seconds
    longer = left + 2 + int(2 * evaluation / step)
    evaluations = (3 + longer) // fitted.evaluate_every
    assert longer * step + evaluations * evaluation > seconds
    assert fitted.warmup_steps == (3 + left) // 10
    assert fitted.steps == 1000
    assert fitted.evaluate_every == 25 or not keep_interval


def test_the_newest_steps_foretell_the_others(clock: Clock) -> None:
    pace = measured(clock, 1.25, 0.0)
    assert pace.steps_left(RUN, 3) == int((60.0 - pace.elapsed) / 1.25)
    for _ in range(500):
        pace.add_step(0.6)
    assert pace.steps_left(RUN, 3) == int((60.0 - pace.elapsed) / 0.6)


def test_a_run_is_over_when_no_step_fits_beside_an_evaluation(clock: Clock) -> None:
    pace = measured(clock, 1.0, 2.0, spent=40.0)
    assert pace.elapsed == pytest.approx(53.0)
    assert not pace.is_over(RUN)
    clock.now += 4.5
    assert pace.is_over(RUN)
    assert pace.steps_left(RUN, 3) == 0
    assert not pace.is_over(replace(RUN, minutes=None))
