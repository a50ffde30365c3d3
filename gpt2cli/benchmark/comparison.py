"""A comparison of engines that take turns in one run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from gpt2cli.benchmark.engines import Engine
from gpt2cli.benchmark.measurements import BANDWIDTH, MEASURES, REACHED, WARM_UP, Measurement, Turn, schedule
from gpt2cli.benchmark.timed_process import run_timed
from gpt2cli.errors import Error


class Comparison:
    """Engines measured turn by turn, the first of which must not fail.

    `failures` says why each of the others that failed is left out.
    """

    def __init__(self, engines: Sequence[Engine], rounds: int, environment: Mapping[str, str]) -> None:
        self.engines = {engine.name: engine for engine in engines}
        self.failures: dict[str, str] = {}
        self._main = engines[0].name
        self._rounds = rounds
        self._environment = environment
        self._values: dict[tuple[str, str], list[float]] = {}

    def turns(self) -> Iterator[Turn]:
        """Yield the turns in order."""
        yield from schedule(self._rounds, {name: list(engine.steps) for name, engine in self.engines.items()})

    def take(self, turn: Turn) -> None:
        """Run the process of a turn, unless its engine has already failed.

        Raises:
            Error: the process of the first engine failed.
        """
        if turn.engine in self.failures:
            return
        try:
            values = self._run(turn)
        except Error as error:
            if turn.engine == self._main:
                raise
            self.failures[turn.engine] = str(error)
            return
        if turn.round != WARM_UP:
            for name, value in values.items():
                self._values.setdefault((turn.engine, name), []).append(value)

    def measurements(self, engine: str) -> dict[str, Measurement]:
        """Return an engine's measurements by name, in the order of MEASURES."""
        measures = [*MEASURES.values(), BANDWIDTH, REACHED]
        return {
            measure.name: Measurement(measure.unit, self._values[engine, measure.name])
            for measure in measures
            if (engine, measure.name) in self._values and engine not in self.failures
        }

    def _run(self, turn: Turn) -> Mapping[str, float]:
        engine = self.engines[turn.engine]
        finished = run_timed(engine.steps[turn.step], self._environment)
        if turn.step == "first_token":
            return {"first_token": finished.seconds}
        if turn.step == "peak_memory":
            return {"peak_memory": finished.peak_bytes / 1e6}
        measures: Mapping[str, float] = (engine.read if turn.step == "inside" else json.loads)(
            finished.output
        )
        return measures
