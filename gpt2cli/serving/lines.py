"""Lines in, answers out: what is read, who answers it, and in which order the answers leave."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from gpt2cli.model.loading import LoadedModel
from gpt2cli.serving.protocol import RequestError, read_object

# An answer that waits for its turn takes memory; so many lines may be read before the first is answered.
LINES_AHEAD = 1024


class Line(NamedTuple):
    """A line of the input: its number from 1 among all lines, and its bytes; or what was wrong with them."""

    number: int
    data: bytes
    problem: str = ""


class Answer(NamedTuple):
    """A line of the output, the `last` for its line of the input unless more of a stream follows.

    `tokens` counts what was made or scored.
    """

    line: int
    data: bytes
    last: bool = True
    failed: bool = False
    tokens: int = 0


class LineFeed(Protocol):
    """Where lines come from."""

    @property
    def ended(self) -> bool:
        """Whether there are no more lines."""

    def take(self, wait: bool) -> Line | None:
        """Return the next line; None at the end, or if none is there yet and it is not to wait."""


class LineWorker(Protocol):
    """What answers lines."""

    @property
    def lines_ahead(self) -> int:
        """How many lines may be read before the first is answered."""

    @property
    def has_room(self) -> bool:
        """Whether another line would be of use now."""

    @property
    def idle(self) -> bool:
        """Whether no line waits for an answer."""

    def submit(self, line: Line) -> None:
        """Take a line, which gets an answer even if it makes no sense."""

    def step(self) -> Sequence[Answer]:
        """Do a part of the work, and return the answers that it brought."""


@dataclass(frozen=True)
class LineRequest:
    """What a line asks for: its id, what is carried over to its answer, and the other fields."""

    id: str | int | None
    carried: Mapping[str, Any] | None
    fields: Mapping[str, Any]


def model_facts(loaded: LoadedModel) -> dict[str, Any]:
    """Return what answers depend on beside the settings: the model, and what computes."""
    ops, files = loaded.model.ops, loaded.files
    where = {"backend": ops.name, "device": ops.device_name, "dtype": ops.dtype_name}
    return {"model": files.name, "revision": files.revision, **where}


def parse_line(line: Line, field: str | None, text_name: str) -> LineRequest:
    """Return what a line asks for.

    With `field`, the line is a row of data: that field is the text, which requests call `text_name`, and all
    others but `id` are carried over to the answer.

    Raises:
        RequestError: the line is not an object, or its id is neither a text nor a whole number.
    """
    if line.problem:
        raise RequestError(line.problem, code="invalid_line")
    fields = read_object(line.data)
    found = fields.pop("id", None)
    if found is not None and (isinstance(found, bool) or not isinstance(found, str | int)):
        raise RequestError("id must be a text or a whole number.", "id", "invalid_type")
    if field is None:
        return LineRequest(found, None, fields)
    if field not in fields:
        raise RequestError(f"The line has no field {field!r}.", field, "missing_required_parameter")
    return LineRequest(found, fields, {text_name: fields.pop(field)})


class InOrder:
    """Answers in the order of their lines; those of the first unanswered line pass at once."""

    def __init__(self, most: int) -> None:
        """Create an order in which at most so many lines wait for their answers."""
        self._most = most
        self._waiting: deque[int] = deque()
        self._held: defaultdict[int, list[Answer]] = defaultdict(list)

    @property
    def has_room(self) -> bool:
        """Whether another line may be read."""
        return len(self._waiting) < self._most

    def expect(self, line: int) -> None:
        """Note that a line was read."""
        self._waiting.append(line)

    def pass_on(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """Yield the answers whose turn it is now, those that were held back included."""
        for answer in answers:
            self._held[answer.line].append(answer)
        while self._waiting:
            ready = self._held.pop(self._waiting[0], [])
            yield from ready
            if not ready or not ready[-1].last:
                return
            self._waiting.popleft()


class AsTheyFinish(InOrder):
    """Answers as they come; the lines that wait are counted, not sorted."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._open = 0

    @property
    def has_room(self) -> bool:
        return self._open < self._most

    def expect(self, line: int) -> None:
        self._open += 1

    def pass_on(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        for answer in answers:
            self._open -= answer.last
            yield answer


def answer_lines(
    feed: LineFeed, worker: LineWorker, write: Callable[[Answer], object], order: InOrder
) -> None:
    """Answer lines as they come until there are no more; the work starts with the first one.

    Raises:
        InputError: the input cannot be read.
    """
    while True:
        while worker.has_room and order.has_room:
            line = feed.take(wait=worker.idle)
            if line is None:
                break
            order.expect(line.number)
            worker.submit(line)
        if worker.idle and feed.ended:
            return
        for answer in order.pass_on(worker.step()):
            write(answer)
