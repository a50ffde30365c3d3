"""A model as a service: one thread computes, one reads texts, and the event loop only carries."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, ParamSpec, TypeVar

from gpt2cli import __version__
from gpt2cli.generation.engine import Engine
from gpt2cli.hub.known_models import known_model
from gpt2cli.model.loading import LoadedModel
from gpt2cli.serving.http.edge.failures import RefusedError
from gpt2cli.serving.http.limits import Limits
from gpt2cli.serving.http.metrics import Metrics
from gpt2cli.serving.http.tickets import Tickets
from gpt2cli.serving.http.worker import Worker
from gpt2cli.text.loading import load_tokenizer

MEGABYTE = 1_000_000
# How long a step waits for what came before it to be written.
WRITING_SECONDS = 0.1
P = ParamSpec("P")
Result = TypeVar("Result")


class Mailbox(asyncio.Queue[Any]):
    """What the worker has for a request, in order; it is filled in the event loop."""


class Service:
    """A loaded model, the threads that work with it, and what they may take on.

    `loaded` belongs to the worker's thread, and `reading`, which has another tokenizer, to the thread that
    reads texts.
    """

    def __init__(self, loaded: LoadedModel, limits: Limits) -> None:
        self.loaded = loaded
        self.limits = limits
        self.started = int(time.time())
        self.metrics = Metrics(loaded.files.name, __version__)
        self.reading = replace(loaded, tokenizer=load_tokenizer(loaded.files, loaded.model.config))
        loaded.model.expect_many_rows()
        kv_memory = limits.kv_memory and limits.kv_memory * MEGABYTE
        open_engine = partial(Engine, loaded.model, rows=limits.batch_size, kv_memory=kv_memory)
        self.worker = Worker(open_engine, self._send)
        self._reader = ThreadPoolExecutor(1, "texts")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sent: list[tuple[Mailbox, Any]] = []
        self._written = threading.Event()
        self._samples = 0

    def start(self) -> None:
        """Start the threads, in the event loop that they answer to."""
        self._loop = asyncio.get_running_loop()
        self.worker.start()

    def stop(self) -> None:
        """End the threads."""
        self.worker.stop()
        self._reader.shutdown(cancel_futures=True)

    async def read(self, function: Callable[P, Result], *values: P.args, **named: P.kwargs) -> Result:
        """Return what a function returns that reads texts, called in the thread for that."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, partial(function, *values, **named))

    @property
    def model_card(self) -> dict[str, Any]:
        """What the OpenAI API says of a model, and the length of its context."""
        return {
            "id": self.loaded.files.name,
            "object": "model",
            "created": self.started,
            "owned_by": "gpt2cli",
            "max_model_len": self.loaded.model.config.n_positions,
        }

    def serves(self, name: Any) -> bool:
        """Return whether a name, or an alias, means the model that is served."""
        return isinstance(name, str) and _canonical(name) == _canonical(self.loaded.files.name)

    def require_model(self, name: Any) -> None:
        """Check that a request means the model that is served; None does.

        Raises:
            RefusedError: it means another, or is no name.
        """
        if not isinstance(name, str | None):
            raise RefusedError(400, "model must be a text.", param="model", code="invalid_type")
        own = self.loaded.files.name
        if name is not None and not self.serves(name):
            raise RefusedError(
                404,
                f"The model {name[:100]!r} is not served here, only {own!r}.",
                param="model",
                code="model_not_found",
            )

    @contextmanager
    def room(self, samples: int) -> Iterator[None]:
        """Have room for samples.

        Raises:
            RefusedError: they are more than there can be, or more than there is room for now.
        """
        most = self.limits.samples
        if samples > most:
            raise RefusedError(
                400, f"The request asks for {samples:,} samples; at most {most:,} are taken.", param="n"
            )
        if self._samples + samples > most:
            raise RefusedError(429, "Too many samples are waiting. Try again later.", code="queue_full")
        self._samples += samples
        self.metrics.samples.set(self._samples)
        try:
            yield
        finally:
            self._samples -= samples
            self.metrics.samples.set(self._samples)

    @contextmanager
    def working(self, begin: Callable[[Tickets], object]) -> Iterator[Mailbox]:
        """Have the worker begin with a request, and drop it in the end; the mailbox has what it posts."""
        mailbox = Mailbox()
        tickets = Tickets(self.worker.owner, lambda item: self._sent.append((mailbox, item)))
        self.worker.call(lambda: tickets.attempt(lambda: begin(tickets)))
        try:
            yield mailbox
        finally:
            self.worker.call(tickets.cancel)

    def _send(self) -> None:
        """Have all that a step brought delivered, and wait until it is written.

        Two threads of Python that work at once take turns at every call of the system, which takes longer
        than to do one after the other.
        """
        if self._sent:
            sent, self._sent = self._sent, []
            assert self._loop
            self._written.clear()
            self._loop.call_soon_threadsafe(self._deliver, sent)
            self._written.wait(WRITING_SECONDS)

    def _deliver(self, sent: list[tuple[Mailbox, Any]]) -> None:
        for mailbox, item in sent:
            mailbox.put_nowait(item)
        assert self._loop
        # Requests that wait for their mail come first.
        self._loop.call_soon(self._written.set)


def _canonical(name: str) -> str:
    known = known_model(name)
    return known.name if known else name
