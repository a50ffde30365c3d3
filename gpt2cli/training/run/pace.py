"""How long the steps and evaluations of a run take, and what fits into the time it has."""

from __future__ import annotations

import time
from dataclasses import replace

from gpt2cli.training.plan.settings import TrainingSettings, suitable_warmup

# The first step of a process also allocates memory, and may compile.
STEPS_TO_MEASURE = 3
# Evaluations may take this part of the time; if they would take more, there are fewer.
EVALUATION_SHARE = 0.25
# Steps are fitted into this part of the time, since some will be slower.
FITTED_SHARE = 0.95


class Pace:
    """A clock of a run and the mean times of its parts; `spent` are the seconds before this process."""

    def __init__(self, spent: float = 0.0) -> None:
        self._spent = spent
        self._start = time.monotonic()
        self._steps = _Mean()
        self._evaluations = _Mean()
        self._first_step: float | None = None

    @property
    def elapsed(self) -> float:
        """The seconds that the run has taken, in all its processes."""
        return self._spent + time.monotonic() - self._start

    @property
    def is_measured(self) -> bool:
        """Whether this process has taken enough steps to foretell the others."""
        return self._steps.count + 1 >= STEPS_TO_MEASURE

    def add_step(self, seconds: float) -> None:
        """Count a step."""
        if self._first_step is None:
            self._first_step = seconds
        else:
            self._steps.add(seconds)

    def add_evaluation(self, seconds: float) -> None:
        """Count an evaluation, with the time to save what it found."""
        self._evaluations.add(seconds)

    def seconds_left(self, settings: TrainingSettings, step: int) -> float:
        """Return how long the steps and evaluations after a step will take, about."""
        step_seconds = self._steps.value or self._first_step or 0.0
        evaluations = -(-settings.steps // settings.evaluate_every) - step // settings.evaluate_every
        return (settings.steps - step) * step_seconds + evaluations * self._evaluations.value

    def is_over(self, settings: TrainingSettings) -> bool:
        """Return whether the time of a run suffices for no more than an evaluation."""
        if settings.minutes is None:
            return False
        return self.elapsed + self._evaluations.value >= 60.0 * settings.minutes

    def fitted(self, settings: TrainingSettings, step: int, keep_interval: bool) -> TrainingSettings:
        """Return the settings with as many of the steps after a step as fit the time, and their schedule."""
        assert settings.minutes is not None
        left = FITTED_SHARE * 60.0 * settings.minutes - self.elapsed
        if not self.is_measured or self.seconds_left(settings, step) <= left:
            return settings
        evaluation = self._evaluations.value
        if keep_interval:
            interval = settings.evaluate_every
            steps = step + int(left / (self._steps.value + evaluation / interval))
        else:
            planned = -(-settings.steps // settings.evaluate_every)
            affordable = int(EVALUATION_SHARE * left / max(evaluation, 1e-9))
            count = max(1, min(planned, affordable))
            steps = step + int((left - count * evaluation) / self._steps.value)
            interval = max(1, -(-steps // count))
        steps = max(step + 1, steps)
        warmup = min(settings.warmup_steps, suitable_warmup(steps))
        return replace(settings, steps=steps, evaluate_every=interval, warmup_steps=warmup)


class _Mean:
    """The mean of numbers, 0 if there are none."""

    def __init__(self) -> None:
        self.count = 0
        self._total = 0.0

    def add(self, number: float) -> None:
        self.count += 1
        self._total += number

    @property
    def value(self) -> float:
        return self._total / max(1, self.count)
