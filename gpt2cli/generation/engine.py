"""One engine for many requests: rows of different lengths join and leave, one step at a time."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Generic

import numpy as np

from gpt2cli.errors import Error, UsageError
from gpt2cli.generation.requests import Event, FinishReason, Request, Token
from gpt2cli.generation.row import Row
from gpt2cli.generation.sampling import Scores, choose_each, log_softmax, require_token
from gpt2cli.generation.texts import Texts
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.kv_cache import Reading
from gpt2cli.model.kv_memory import KVMemory, open_memory
from gpt2cli.model.model import Model
from gpt2cli.ops.operations import A

if TYPE_CHECKING:
    from gpt2cli.generation.ahead import Ahead

# How many positions of prompts are read in one step: while no row waits, and else at least, and for each row
# that waits. A step then takes some three times as long as one without a prompt. With less, rows that end
# early would wait for prompts, and the weights be read for few positions at a time.
CHUNK_ALONE, SHORTEST_CHUNK, CHUNK_FOR_A_ROW = 512, 64, 8
# A GPU takes no longer for so many than for a few.
CHUNK_ON_A_GPU = 2048


class Engine(Generic[A]):
    """Continue many prompts at once, at most `rows` of them; one thread owns an engine.

    On the compiled kernels, a request gets the same tokens in any company, bit for bit. Where the backend
    decodes ahead, what a step chooses is an event of the next one. Prompts that begin alike share what they
    share, also with at most `kept` that have ended, by default twice as many as rows. Keys and values take
    at most `kv_memory` bytes, by default a quarter of what is free, and as much as `rows` requests of at most
    `capacity` positions need, by default of a whole context.
    """

    def __init__(
        self,
        model: Model[A],
        *,
        rows: int = 8,
        kv_memory: int | None = None,
        capacity: int | None = None,
        kept: int | None = None,
    ) -> None:
        """Take memory for requests.

        Raises:
            UsageError: one of `capacity` positions needs more than `kv_memory`.
        """
        self._model = model
        self._most_rows = rows
        self._tickets = count()
        # In a plain dict, it takes ever longer to find the first.
        self._queue: OrderedDict[int, Row] = OrderedDict()
        self._rows: list[Row] = []
        self._stopped: set[int] = set()
        self._memory = open_memory(model.config, model.ops, rows, kv_memory, capacity)
        # Behind the slots of the rows.
        most_kept = max(self._memory.slots - rows, 0) if self._memory.slot else 2 * rows
        self._texts = Texts(self._memory, most_kept if kept is None else min(kept, most_kept))
        self._ahead = _open_ahead(model, self._memory) if model.ops.decodes_ahead else None
        self._require_room(capacity or 0)

    @property
    def idle(self) -> bool:
        """Whether no request is left."""
        return not (self._queue or self._rows)

    def submit(self, request: Request) -> int:
        """Return a ticket for a request, which waits until a row and memory are free; this never blocks.

        Raises:
            ValueError: the prompt is empty or exceeds the context.
            UsageError: the request needs more than `kv_memory`.
        """
        if not request.ids:
            raise ValueError("the prompt is empty")
        context = self._model.config.n_positions
        if len(request.ids) > context:
            raise ValueError(f"{len(request.ids)} positions do not fit the context of {context}")
        row = Row(next(self._tickets), request)
        self._require_room(row.capacity(context))
        self._queue[row.ticket] = row
        return row.ticket

    def cancel(self, ticket: int) -> None:
        """Drop a request, whose row and memory are free before the next step; nothing more comes from it.

        A ticket that has ended is ignored.
        """
        self._stopped.discard(ticket)
        for row in [row for row in self._rows if row.ticket == ticket]:
            self._leave(row)
        self._queue.pop(ticket, None)

    def stop(self, ticket: int) -> None:
        """End a request because a stop string was found; its end is an event of the next step.

        A ticket that has ended is ignored.
        """
        self._stopped.add(ticket)

    def step(self) -> list[Event]:
        """Choose the next token of each row whose prompt is read, and return what happened.

        A ticket has at most one token in a step. Prompts are read in parts, so that none holds up the rows.
        """
        events = list(self._end_stopped())
        events += self._admit()
        self._read([row for row in self._rows if not row.scores])
        self._admit_twins()
        chosen: list[tuple[Row, int | Error]] = [*self._ahead.step(self._rows)] if self._ahead else []
        rows = [row for row in self._rows if row.scores]
        chosen += zip(rows, self._choose(rows), strict=True)
        for row, token in chosen:
            if isinstance(token, Error):
                # Others go on.
                self._fail(row)
                events.append(Event(row.ticket, error=token))
            else:
                events += self._take(row, token)
        return events

    def _choose(self, rows: Sequence[Row]) -> list[int | Error]:
        """Return the token chosen for each row, or why there is none."""
        if not rows:
            return []
        ops, adjusted = self._model.ops, [row.adjusted() for row in rows]
        filters = [row.filters() for row in rows]
        try:
            return [*choose_each(ops, adjusted, filters)]
        except Error as error:
            if len(rows) == 1:
                return [error]
        return [found for row in rows for found in self._choose([row])]

    def _require_room(self, positions: int) -> None:
        if positions > self._memory.positions:
            room = self._memory.positions
            raise UsageError(
                f"A prompt with its new tokens may take {positions:,} positions; `kv_memory` has room for "
                f"{room:,}.",
                "Raise `kv_memory`, or ask for fewer tokens.",
            )

    def _end_stopped(self) -> Iterator[Event]:
        running = {row.ticket for row in self._rows}
        for ticket in [one for one in sorted(self._stopped) if one in running or one in self._queue]:
            self.cancel(ticket)
            yield Event(ticket, None, "stop")
        self._stopped.clear()

    def _admit(self) -> Iterator[Event]:
        while self._queue and len(self._rows) < self._most_rows:
            row = next(iter(self._queue.values()))
            if not row.request.settings.max_tokens:
                yield Event(self._queue.popitem(last=False)[0], None, "length")
            elif self._is_being_read(row.ids) or not self._join(row):
                return

    def _join(self, row: Row, twin: Row | None = None) -> bool:
        """Let the first of the queue join the batch if there is memory for it."""
        capacity = row.capacity(self._model.config.n_positions)
        text = self._texts.open(row.ids, capacity, twin.text if twin else None)
        if text:
            row.text = text
            self._rows.append(self._queue.popitem(last=False)[1])
        return bool(text)

    def _admit_twins(self) -> None:
        """Let those in the queue join whose whole prompt has just been read for another."""
        if not self._queue:
            return
        read = [row for row in self._rows if not (row.made or self._to_read(row))]
        while self._queue and len(self._rows) < self._most_rows:
            row = next(iter(self._queue.values()))
            twin = next((other for other in read if other.ids == row.ids), None)
            if not (twin and row.request.settings.max_tokens and self._join(row, twin)):
                return
            row.scores = deque(twin.scores)
            if not row.scores:
                # Its last id is read with the newest of the others.
                row.text.length = len(row.ids) - 1

    def _is_being_read(self, ids: Sequence[int]) -> bool:
        return any(self._to_read(row) and row.ids == ids for row in self._rows)

    def _to_read(self, row: Row) -> int:
        """Return how many ids of a row are read here; the last is not where the backend decodes ahead."""
        return row.unread - 1 if self._ahead and self._ahead.takes(row) else row.unread

    def _read(self, rows: Sequence[Row]) -> None:
        """Read the newest id of each row, and a part of the prompts that are not read yet, in one pass."""
        waiting = sum(row.unread == 1 for row in rows)
        chunk = max(SHORTEST_CHUNK, CHUNK_FOR_A_ROW * waiting) if waiting else CHUNK_ALONE
        if self._ahead:
            chunk = CHUNK_ON_A_GPU
        ids: list[int] = []
        spans: list[tuple[int, int, int, int]] = []
        read: list[tuple[Row, int]] = []
        for row in rows:
            if not (left := self._to_read(row)):
                continue
            new, is_all = row.next_ids(min(chunk, left) if row.unread > 1 else left)
            chunk -= len(new) if row.unread > 1 else 0
            if new:
                skipped = len(new) - is_all
                spans.append((row.text.begin, row.text.length, len(new) + len(row.draft), skipped))
                ids += [*new, *row.draft]
                read.append((row, 1 + len(row.draft) if is_all else 0))
                row.text.length += len(new)
        if not spans:
            return
        model = self._model
        hidden = hidden_states(model, model.ops.token_ids([ids]), Reading(self._memory, np.array(spans)))
        outputs = [row for row, count in read for _ in range(count)]
        if outputs:
            top = outputs[0].top_needed() if len(outputs) == 1 else None
            for row, scores in zip(outputs, model.ops.to_numpy(logits(model, hidden, top))[0], strict=True):
                row.scores.append(scores)

    def _take(self, row: Row, chosen: int) -> Iterator[Event]:
        settings, context = row.request.settings, self._model.config.n_positions
        scores = row.scores.popleft() if row.scores else None
        try:
            require_token(chosen)
        except Error as error:
            # Others of the batch have nothing to do with it.
            self._fail(row)
            yield Event(row.ticket, None, None, error)
            return
        reason: FinishReason | None = None
        if chosen in settings.end_ids:
            reason = "stop"
        else:
            row.add(chosen)
            yield Event(row.ticket, _token(chosen, scores, settings.logprobs))
            if row.made == settings.max_tokens:
                reason = "length"
            elif row.unread and not row.coming and row.text.length == context:
                if settings.slide:
                    self._texts.hide(row.text)
                    row.slide(context)
                else:
                    reason = "length"
        if reason:
            self._leave(row)
            yield Event(row.ticket, None, reason)

    def _fail(self, row: Row) -> None:
        # No other may share numbers that are none.
        self._texts.hide(row.text)
        self._leave(row)

    def _leave(self, row: Row) -> None:
        self._rows.remove(row)
        # What followed the tokens that are known is nobody's.
        row.text.length -= row.coming
        self._texts.close(row.text)


def continue_ids(model: Model[A], request: Request) -> Iterator[Token]:
    """Yield the tokens of one request alone.

    Raises:
        Error: the logits are NaN, or every token is banned.
    """
    engine = Engine(model, rows=1, capacity=model.config.n_positions)
    engine.submit(request)
    while not engine.idle:
        for event in engine.step():
            if event.error:
                raise event.error
            if event.token:
                yield event.token


def _open_ahead(model: Model[A], memory: KVMemory[A]) -> Ahead:
    # It imports torch.
    from gpt2cli.generation.ahead import Ahead

    return Ahead(model, memory)


def _token(chosen: int, scores: Scores | None, count: int | None) -> Token:
    if count is None or scores is None:
        return Token(chosen)
    logprobs = log_softmax(scores)
    # Sorting takes longer than the rest.
    order: Sequence[int] = np.argsort(-logprobs, kind="stable")[:count].tolist() if count else ()
    return Token(chosen, float(logprobs[chosen]), tuple((token, float(logprobs[token])) for token in order))
