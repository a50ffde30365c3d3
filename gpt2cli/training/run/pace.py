"""How long the steps and evaluations of a run take, and what fits into the time it has."""

from __future__ import annotations

import time
from dataclasses import replace

from gpt2cli.training.plan.settings import TrainingSettings, suitable_warmup

# The first step of a process also allocates memory, and may compile.
STEPS_TO_MEASURE = 3
# The next ones are slow too, and a machine may be shared: only so many of the newest count.
NEWEST = 50
# Evaluations may take this part of the time; if they would take more, there are fewer.
EVALUATION_SHARE = 0.25


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

    def steps_left(self, settings: TrainingSettings, step: int) -> int:
        """Return how many steps are to follow a step: those planned, or as many as the time allows."""
        planned = settings.steps - step
        if settings.minutes is None or not self.is_measured:
            return planned
        evaluation = self._evaluations.value
        seconds = 60.0 * settings.minutes - self.elapsed - evaluation
        each = self._steps.value + evaluation / settings.evaluate_every
        return max(0, min(planned, int(seconds / max(each, 1e-9))))

    def seconds_left(self, settings: TrainingSettings, step: int) -> float:
        """Return how long the steps and evaluations after a step will take, about."""
        left = self.steps_left(settings, step)
        step_seconds = self._steps.value or self._first_step or 0.0
        evaluations = -(-(step + left) // settings.evaluate_every) - step // settings.evaluate_every
        return left * step_seconds + evaluations * self._evaluations.value

    def is_over(self, settings: TrainingSettings) -> bool:
        """Return whether the time of a run suffices for no more than an evaluation."""
        if settings.minutes is None:
            return False
        left = 60.0 * settings.minutes - self.elapsed
        return left <= 0.0 or left < self._steps.value + self._evaluations.value

    def fitted(self, settings: TrainingSettings, step: int, keep_interval: bool) -> TrainingSettings:
        """Return the settings with evaluations and a warm-up that suit the steps that the time allows."""
        assert settings.minutes is not None
        if not keep_interval:
            seconds, evaluation = 60.0 * settings.minutes - self.elapsed, self._evaluations.value
            planned = -(-settings.steps // settings.evaluate_every)
            affordable = int(EVALUATION_SHARE * seconds / max(evaluation, 1e-9))
            count = max(1, min(planned, affordable))
            steps = step + max(1, int((seconds - count * evaluation) / max(self._steps.value, 1e-9)))
            settings = replace(settings, evaluate_every=max(1, -(-steps // count)))
        steps = step + self.steps_left(settings, step)
        return replace(settings, warmup_steps=min(settings.warmup_steps, suitable_warmup(steps)))


class _Mean:
    """The mean of the newest numbers, 0 if there are none; older ones count less and less."""

    def __init__(self) -> None:
        self.count = 0
        self.value = 0.0

    def add(self, number: float) -> None:
        self.count += 1
        self.value += (number - self.value) / min(self.count, NEWEST)
