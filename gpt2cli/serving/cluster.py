"""Lines shared among the workers of a Ray cluster; one process hands them out and takes the answers."""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from gpt2cli.errors import Error
from gpt2cli.model.loading import LoadedModel, load
from gpt2cli.ops.compute import Compute
from gpt2cli.serving.answers import failure
from gpt2cli.serving.lines import Answer, Line, LineWorker, model_facts

OpenWorker = Callable[[LoadedModel], LineWorker]

# Each call brings a worker so many lines, and it keeps as many back, so that its batch never runs empty.
# Towards the end there are fewer, so that all workers end at about the same time.
CHUNK_LINES, FEWEST_LINES = 64, 8
# A line that was there each time when a worker died is probably why.
MOST_DEATHS = 3
# How long a free worker waits for lines that have not arrived.
PATIENCE_SECONDS = 0.1


class ClusterWorker:
    """A process of the cluster, with a model of its own."""

    def __init__(self, model: str | None, compute: Compute, offline: bool, open_worker: OpenWorker) -> None:
        self._open = open_worker
        self._load = model, compute, offline
        self._worker: LineWorker | None = None
        self._held: dict[int, list[Answer]] = {}

    def prepare(self) -> dict[str, Any]:
        """Load the model, and return what the answers depend on.

        Raises:
            UsageError, HubError, CheckpointError, Error: as `load` does.
        """
        model, compute, offline = self._load
        loaded = load(model, compute, offline=offline, for_decoding=True)
        self._worker = self._open(loaded)
        return model_facts(loaded)

    def work(self, lines: Sequence[Line]) -> list[Answer]:
        """Take lines, and return the answers of others or, if there are none, of all that are left."""
        assert self._worker is not None
        waiting = deque(lines)
        answers: list[Answer] = []
        while waiting or (len(self._held) > len(lines)):
            while waiting and self._worker.has_room:
                line = waiting.popleft()
                self._held[line.number] = []
                self._worker.submit(line)
            for answer in self._worker.step():
                self._held[answer.line].append(answer)
                # A stream that breaks off with its worker must not have begun.
                if answer.last:
                    answers += self._held.pop(answer.line)
        return answers


@dataclass(eq=False)
class _Member:
    """A worker as the driver sees it: what it is asked, and the lines that it owes answers to."""

    actor: Any
    call: Any
    is_ready: bool = False
    lines: dict[int, Line] = field(default_factory=dict)


class RayCluster:
    """Answer lines by the workers of a Ray cluster: one for each GPU, or for each `threads` CPUs.

    It connects to the cluster that RAY_ADDRESS or this machine has, or starts one here. The lines of a worker
    that is lost go to others, and each line is answered once. `ray` has the functions of the module ray.

    Raises:
        Error: Ray is not installed, or the cluster has no room for a worker.
    """

    def __init__(
        self,
        model: str | None,
        compute: Compute,
        offline: bool,
        open_worker: OpenWorker,
        note: Callable[[str], None],
        ray: Any = None,
    ) -> None:
        self._ray = _start_ray() if ray is None else ray
        self._note = note
        resources = self._ray.cluster_resources()
        gpus = int(resources.get("GPU", 0)) if compute.device in ("auto", "cuda") else 0
        threads = compute.threads or 1
        need = {"num_gpus": 1} if gpus else {"num_cpus": threads}
        if not gpus:
            compute = replace(compute, threads=threads)
        self._class = self._ray.remote(**need)(ClusterWorker)
        self._arguments = model, compute, offline, open_worker
        self.size = gpus or int(resources.get("CPU", 0)) // threads
        if not self.size:
            raise Error(f"The cluster has no worker with {threads} CPUs.", "Lower `threads`.")
        self._members: list[_Member] = []
        self._facts: dict[str, Any] = {}
        self._queue: deque[Line] = deque()
        self._deaths: Counter[int] = Counter()
        self._answers: list[Answer] = []
        self._failed_starts = 0

    def prepare(self) -> dict[str, Any]:
        """Start the workers, wait for the first, and return what the answers depend on.

        Raises:
            Error: the model cannot be loaded.
        """
        self._members = [self._new_member() for _ in range(self.size)]
        while not self._facts:
            self._answers += self._wait(None)
        return self._facts

    @property
    def ready(self) -> int:
        """The workers that have loaded the model."""
        return sum(member.is_ready for member in self._members)

    @property
    def lines_ahead(self) -> int:
        """The lines that may be read before the first is answered."""
        return 4 * CHUNK_LINES * self.size

    @property
    def has_room(self) -> bool:
        """Whether another line would be of use now."""
        return len(self._queue) < CHUNK_LINES * self.size

    @property
    def idle(self) -> bool:
        """Whether no line waits for an answer."""
        return not (self._queue or self._answers or any(member.lines for member in self._members))

    def submit(self, line: Line) -> None:
        """Take a line."""
        self._queue.append(line)

    def step(self) -> Sequence[Answer]:
        """Hand out lines, and return the answers that have come.

        Raises:
            Error: no worker is left and none can be started, or one has another model.
        """
        for member in self._members:
            if member.is_ready and member.call is None and (self._queue or member.lines):
                lines = self._chunk()
                member.lines |= {line.number: line for line in lines}
                member.call = member.actor.work.remote(lines)
        has_free = any(member.is_ready and member.call is None for member in self._members)
        answers, self._answers = self._answers, []
        return answers + self._wait(PATIENCE_SECONDS if has_free or answers else None)

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._ray.shutdown()

    def _chunk(self) -> list[Line]:
        """Return the next lines for a worker; those that others were lost with are in small company."""
        deaths = self._deaths[self._queue[0].number] if self._queue else 0
        share = max(FEWEST_LINES, len(self._queue) // self.size)
        most = min(share, CHUNK_LINES >> 3 * deaths)
        lines: list[Line] = []
        while self._queue and len(lines) < most and self._deaths[self._queue[0].number] == deaths:
            lines.append(self._queue.popleft())
        return lines

    def _wait(self, seconds: float | None) -> list[Answer]:
        calls = [member.call for member in self._members if member.call is not None]
        if not calls:
            return []
        done, _ = self._ray.wait(calls, num_returns=1, timeout=seconds)
        answers: list[Answer] = []
        for member in [member for member in self._members if member.call in done]:
            try:
                result = self._ray.get(member.call)
            except self._ray.exceptions.RayTaskError as error:
                raise _own_error(error) from error
            except self._ray.exceptions.RayError as error:
                answers += self._replace(member, error)
                continue
            member.call = None
            if member.is_ready:
                answers += self._owed(member, result)
            else:
                self._welcome(member, result)
        return answers

    def _owed(self, member: _Member, answers: Sequence[Answer]) -> list[Answer]:
        found = [answer for answer in answers if answer.line in member.lines]
        for answer in found:
            if answer.last:
                member.lines.pop(answer.line)
        return found

    def _welcome(self, member: _Member, facts: dict[str, Any]) -> None:
        self._facts = self._facts or facts
        for name, value in facts.items():
            if value != self._facts[name]:
                raise Error(
                    f"The workers have another {name} each: {self._facts[name]} and {value}.",
                    "Name one `model` that all machines have.",
                )
        member.is_ready = True

    def _replace(self, member: _Member, error: Exception) -> list[Answer]:
        """Start a worker in place of one that is lost, and return the answers of lines that are given up."""
        self._failed_starts += not member.is_ready
        if self._failed_starts >= MOST_DEATHS:
            raise Error(f"The workers of the cluster do not start: {_first_line(error)}")
        self._note(f"note: a worker was lost; {len(member.lines):,} lines go to others")
        given_up = []
        for line in member.lines.values():
            self._deaths[line.number] += 1
            if self._deaths[line.number] < MOST_DEATHS:
                self._queue.appendleft(line)
            else:
                reason = Error(f"{MOST_DEATHS} workers were lost while they had this line.")
                given_up.append(failure(line.number, None, reason))
        self._members[self._members.index(member)] = self._new_member()
        return given_up

    def _new_member(self) -> _Member:
        actor = self._class.remote(*self._arguments)
        return _Member(actor, actor.prepare.remote())


def _start_ray() -> Any:
    # No network but the cluster's own.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray: Any = import_module("ray")
    except ImportError as error:
        raise Error("Ray is not installed.", "Run pip install 'gpt2cli[ray]'.") from error
    ray.init(logging_level=logging.ERROR, log_to_driver=False)
    return ray


def _own_error(error: Any) -> Exception:
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Error) else error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
