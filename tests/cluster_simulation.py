"""A simulated Ray cluster with a clock of its own, and the table of docs/scale.md that it yields.

The driver is the program's own: it hands out lines, waits, replaces lost workers, and puts answers in order.
What Ray and the workers do takes simulated seconds. `python tests/cluster_simulation.py` makes the table.
"""

from __future__ import annotations

import heapq
import random
import re
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt2cli.ops.compute import Compute
from gpt2cli.serving.answers import answer
from gpt2cli.serving.cluster import RayCluster
from gpt2cli.serving.lines import Answer, InOrder, Line, answer_lines

PAGE = Path(__file__).parent.parent / "docs" / "scale.md"
TABLE = re.compile(r"^\| workers \|.*?(?=^$)", re.MULTILINE | re.DOTALL)
WORKERS = (1, 2, 4, 16, 64, 250, 1000)
LINES = 200_000
# Of GPT-2 with a batch of 8 on one thread of a server, and of the driver there.
ROWS = 8
STEP_SECONDS = 0.06
LOAD_SECONDS = 5.0
LINE_SECONDS = 30e-6
CALL_SECONDS = 1e-3
LIFETIME_SECONDS = 4 * 3600.0
# Lines have 40 new tokens in the median, and a few have ten times as many.
MEDIAN_TOKENS, SPREAD, MOST_TOKENS = 40.0, 0.8, 400


class LostError(Exception):
    """The loss of a worker."""


class TaskError(LostError):
    """An error in a worker's code, of which the simulation has none."""


@dataclass(eq=False)
class Call:
    """A call that was made: when it ends, and with what; None is the loss of the worker."""

    end: float
    result: Any


@dataclass
class Method:
    """A method of an actor."""

    remote: Callable[..., Call]


@dataclass(eq=False)
class SimulatedRay:
    """What the driver uses of the module ray; time passes when it waits or works.

    `seconds_of` is how long a line takes, `lifetime` how long a new worker lives, and a line that is
    `deadly` ends it at once. `worked` are the seconds of the driver, `computed` those of the workers, as if
    their batches were always full.
    """

    workers: int
    seconds_of: Callable[[Line], float]
    lifetime: Callable[[], float]
    deadly: Collection[int] = ()
    now: float = 0.0
    worked: float = 0.0
    computed: float = 0.0
    started: int = 0

    class exceptions:  # noqa: N801
        """The errors, under the names that they have in Ray."""

        RayError = LostError
        RayTaskError = TaskError

    def cluster_resources(self) -> dict[str, float]:
        """Return a CPU for each worker."""
        return {"CPU": float(self.workers)}

    def remote(self, **_: int) -> Callable[[type], Method]:
        """Return what makes a class one of actors."""
        return lambda _: Method(self._start)

    def _start(self, *_: Any) -> Any:
        self.started += 1
        return Worker(self, self.now + self.lifetime())

    def work(self, seconds: float) -> None:
        """Let the driver work."""
        self.now += seconds
        self.worked += seconds

    def wait(self, calls: Sequence[Call], num_returns: int, timeout: float | None) -> tuple[list[Call], Any]:
        """Wait until a call ends, or for `timeout`."""
        self.work(CALL_SECONDS)
        first = min(calls, key=lambda call: call.end)
        latest = first.end if timeout is None else min(first.end, self.now + timeout)
        self.now = max(self.now, latest)
        return ([first] if first.end <= self.now else []), None

    def get(self, call: Call) -> Any:
        """Return the result of a call.

        Raises:
            LostError: the worker was lost.
        """
        if call.result is None:
            raise LostError
        return call.result

    def shutdown(self) -> None:
        """Leave the cluster."""


class Worker:
    """A worker that continues `ROWS` lines at once, until it is lost."""

    def __init__(self, ray: SimulatedRay, lost_at: float) -> None:
        self.prepare = Method(self._prepare)
        self.work = Method(self._work)
        self._ray = ray
        self._lost_at = lost_at
        self._now = 0.0
        self._waiting: deque[Line] = deque()
        self._running: list[tuple[float, int]] = []

    def _prepare(self) -> Call:
        return self._call(self._ray.now + LOAD_SECONDS, {"model": "simulated"})

    def _work(self, lines: Sequence[Line]) -> Call:
        self._now = max(self._now, self._ray.now)
        if any(line.number in self._ray.deadly for line in lines):
            return Call(self._now, None)
        self._waiting.extend(lines)
        self._fill()
        answers: list[Answer] = []
        while len(self._running) + len(self._waiting) > len(lines):
            self._now, number = heapq.heappop(self._running)
            answers.append(answer(number, None, {}))
            self._fill()
        return self._call(self._now, answers)

    def _fill(self) -> None:
        while self._waiting and len(self._running) < ROWS:
            line = self._waiting.popleft()
            seconds = self._ray.seconds_of(line)
            self._ray.computed += seconds / ROWS
            heapq.heappush(self._running, (self._now + seconds, line.number))

    def _call(self, end: float, result: Any) -> Call:
        return Call(end, result) if end <= self._lost_at else Call(self._lost_at, None)


@dataclass
class Feed:
    """Numbered lines, whose reading takes the driver's time."""

    ray: SimulatedRay
    count: int
    number: int = 0

    @property
    def ended(self) -> bool:
        """Whether there are no more lines."""
        return self.number == self.count

    def take(self, wait: bool) -> Line | None:
        """Return the next line."""
        if self.ended:
            return None
        self.number += 1
        self.ray.work(LINE_SECONDS)
        return Line(self.number, b"")


@dataclass
class Outcome:
    """A simulated run: the lines that were answered, in their order, and which of these were given up."""

    ray: SimulatedRay
    feed: Feed
    written: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def simulate(
    workers: int,
    lines: int,
    seconds_of: Callable[[Line], float],
    lifetime: Callable[[], float],
    deadly: Collection[int] = (),
) -> Outcome:
    """Answer lines by workers that live for a time each."""
    ray = SimulatedRay(workers, seconds_of, lifetime, deadly)
    outcome = Outcome(ray, Feed(ray, lines))
    cluster = RayCluster(None, Compute(), True, lambda _: NotImplemented, outcome.notes.append, ray)
    cluster.prepare()

    def write(one: Answer) -> None:
        ray.work(LINE_SECONDS)
        outcome.written.append(one.line)
        outcome.failed += [one.line] * one.failed

    answer_lines(outcome.feed, cluster, write, InOrder(cluster.lines_ahead))
    return outcome


def skewed_seconds(count: int) -> Callable[[Line], float]:
    """Return how long each of some lines takes."""
    draw = random.Random(1)
    tokens = [
        min(MOST_TOKENS, 1 + int(MEDIAN_TOKENS * draw.lognormvariate(0.0, SPREAD))) for _ in range(count)
    ]
    return lambda line: tokens[line.number - 1] * STEP_SECONDS


def table() -> str:
    """Return the table of docs/scale.md."""
    seconds_of = skewed_seconds(LINES)
    useful = sum(seconds_of(Line(number, b"")) for number in range(1, LINES + 1)) / ROWS
    rows = ["| workers | time | speed-up | computing | loading | done again | idle | driver |"]
    rows.append("|---" * 8 + "|")
    for workers in WORKERS:
        run = simulate(workers, LINES, seconds_of, lifetimes())
        assert run.written == list(range(1, LINES + 1))
        ray, total = run.ray, workers * run.ray.now
        loading, again = ray.started * LOAD_SECONDS, ray.computed - useful
        shares = [useful, loading, again, max(total - useful - loading - again, 0.0)]
        cells = [f"{100 * share / total:.1f} %" for share in shares] + [f"{100 * ray.worked / ray.now:.1f} %"]
        rows.append(f"| {workers:,} | {clock(ray.now)} | {useful / ray.now:,.1f} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def lifetimes() -> Callable[[], float]:
    """Return how long one worker after the other lives."""
    draw = random.Random(2)
    return lambda: draw.expovariate(1 / LIFETIME_SECONDS)


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


if __name__ == "__main__":
    made = table()
    print(made)
    page = PAGE.read_text()
    PAGE.write_text(TABLE.sub(lambda _: made, page))
