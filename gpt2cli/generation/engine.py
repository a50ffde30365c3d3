"""One engine for many requests: rows of different lengths join and leave, one step at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import Generic

import numpy as np

from gpt2cli.errors import Error
from gpt2cli.generation.requests import Event, FinishReason, Request, Token
from gpt2cli.generation.sampling import Scores, log_softmax
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.kv_cache import KVCache
from gpt2cli.model.model import Model
from gpt2cli.ops.operations import A


class _Row(Generic[A]):
    """A request in the running batch: its ids so far, and the positions that were read of them."""

    def __init__(self, ticket: int, request: Request) -> None:
        self.ticket = ticket
        self.request = request
        self.ids = list(request.ids)
        self.unread: Sequence[int] = request.ids
        self.cache: KVCache[A] | None = None

    @property
    def made(self) -> int:
        return len(self.ids) - len(self.request.ids)


class Engine(Generic[A]):
    """Continue many prompts at once, at most `rows` of them; one thread owns an engine.

    A request gets the same tokens in any company.
    """

    def __init__(self, model: Model[A], *, rows: int = 8, kv_memory: int | None = None) -> None:
        self._model = model
        self._most_rows = rows
        self._tickets = count()
        self._queue: deque[_Row[A]] = deque()
        self._rows: list[_Row[A]] = []
        self._stopped: dict[int, None] = {}

    @property
    def idle(self) -> bool:
        """Whether no request is left."""
        return not (self._queue or self._rows)

    def submit(self, request: Request) -> int:
        """Return a ticket for a request, which waits until a row is free; this never blocks.

        Raises:
            ValueError: the prompt is empty or exceeds the context.
        """
        if not request.ids:
            raise ValueError("the prompt is empty")
        context = self._model.config.n_positions
        if len(request.ids) > context:
            raise ValueError(f"{len(request.ids)} positions do not fit the context of {context}")
        ticket = next(self._tickets)
        self._queue.append(_Row(ticket, request))
        return ticket

    def cancel(self, ticket: int) -> None:
        """Drop a request, whose row is free before the next step; nothing more comes from it.

        A ticket that has ended is ignored.
        """
        self._stopped.pop(ticket, None)
        self._rows = [row for row in self._rows if row.ticket != ticket]
        self._queue = deque(row for row in self._queue if row.ticket != ticket)

    def stop(self, ticket: int) -> None:
        """End a request because a stop string was found; its end is an event of the next step.

        A ticket that has ended is ignored.
        """
        self._stopped[ticket] = None

    def step(self) -> list[Event]:
        """Choose the next token of each row and return what happened, at most one token for a ticket."""
        events: list[Event] = []
        for row in [row for row in (*self._rows, *self._queue) if row.ticket in self._stopped]:
            self.cancel(row.ticket)
            events.append(Event(row.ticket, None, "stop"))
        self._stopped.clear()
        while self._queue and len(self._rows) < self._most_rows:
            self._rows.append(self._queue.popleft())
        for row in list(self._rows):
            reason: FinishReason | None = None if row.request.settings.max_tokens else "length"
            if not reason:
                try:
                    token, reason = self._next(row)
                except Error as error:
                    # Others go on.
                    self._rows.remove(row)
                    events.append(Event(row.ticket, error=error))
                    continue
                if token:
                    events.append(Event(row.ticket, token))
            if reason:
                self._rows.remove(row)
                events.append(Event(row.ticket, None, reason))
        return events

    def _next(self, row: _Row[A]) -> tuple[Token | None, FinishReason | None]:
        request, settings, context = row.request, row.request.settings, self._model.config.n_positions
        scores = self._read(row)
        chosen = request.sampler.choose(scores, row.ids, len(request.ids), request.sample)
        if chosen in settings.end_ids:
            return None, "stop"
        row.ids.append(chosen)
        row.unread = [chosen]
        token = _token(chosen, scores, settings.logprobs)
        assert row.cache
        if row.made == settings.max_tokens or (row.cache.length == context and not settings.slide):
            return token, "length"
        if row.cache.length == context:
            # What is cached depends on its position, so the newer half must be reread from position 0.
            row.cache, row.unread = None, row.ids[-max(context // 2, 1) :]
        return token, None

    def _read(self, row: _Row[A]) -> Scores:
        model, settings, context = self._model, row.request.settings, self._model.config.n_positions
        if row.cache is None:
            left = settings.max_tokens - row.made - 1
            row.cache = KVCache(model.config, model.ops, 1, min(len(row.unread) + left, context))
        top = row.request.sampler.top_needed(len(row.ids)) if settings.logprobs is None else None
        hidden = hidden_states(model, model.ops.token_ids([row.unread]), row.cache, first=-1)
        scores: Scores = model.ops.to_numpy(logits(model, hidden, top))[0, 0]
        return scores


def _token(chosen: int, scores: Scores, count: int | None) -> Token:
    if count is None:
        return Token(chosen)
    logprobs = log_softmax(scores)
    # Sorting takes longer than the rest.
    order: Sequence[int] = np.argsort(-logprobs, kind="stable")[:count].tolist() if count else ()
    return Token(chosen, float(logprobs[chosen]), tuple((token, float(logprobs[token])) for token in order))
