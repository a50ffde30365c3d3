"""`/v1/completions`: text continued as the OpenAI API does it, and prompts scored."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from functools import partial

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from gpt2cli.serving.answers import encode_json
from gpt2cli.serving.http.completions.answer import CompletionAnswer
from gpt2cli.serving.http.completions.choices import Update, begin, read_work
from gpt2cli.serving.http.completions.fields import parse_body
from gpt2cli.serving.http.edge.body import read_body
from gpt2cli.serving.http.edge.connection import EVENTS, Stream, event, send_json, while_connected
from gpt2cli.serving.http.edge.outcomes import as_refusal
from gpt2cli.serving.http.service import Mailbox, Service
from gpt2cli.serving.http.tickets import Failure
from gpt2cli.serving.protocol import read_object

DONE = b"data: [DONE]\n\n"


class Completions:
    """The route; a request is read in the thread for texts, and answered from the worker's updates."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        limits = self._service.limits
        data = await read_body(scope, receive, limits.body_bytes, limits.seconds)
        stream = Stream(send, EVENTS)

        async def answer() -> None:
            await self._answer(data, send, stream)

        try:
            await while_connected(receive, limits.seconds, answer)
        except ClientDisconnect:
            raise
        except Exception as error:
            if not stream.begun:
                raise
            await stream.send(event(encode_json({"error": as_refusal(error).error()})))
            await stream.close()

    async def _answer(self, data: bytes, send: Send, stream: Stream) -> None:
        body = await self._service.read(lambda: parse_body(read_object(data)))
        self._service.require_model(body.model)
        with self._service.room(body.choices):
            work = await self._service.read(read_work, self._service.reading, body)
            answer = CompletionAnswer(
                f"cmpl-{secrets.token_hex(12)}", self._service.loaded.files.name, body, work
            )
            self._service.metrics.prompt_tokens.inc(work.prompt_tokens)
            with self._service.working(partial(begin, self._service.loaded, work)) as mailbox:
                updates = self._updates(mailbox, body.choices)
                if body.stream:
                    async for update in updates:
                        await stream.send(event(answer.chunk(update)))
                    if body.with_usage:
                        await stream.send(event(answer.usage_chunk()))
                    await stream.send(DONE)
                    await stream.close()
                    return
                async for update in updates:
                    answer.add(update)
            await send_json(send, answer.whole())

    async def _updates(self, mailbox: Mailbox, choices: int) -> AsyncIterator[Update]:
        """Yield what is new until all choices have ended.

        Raises:
            Exception: the worker failed.
        """
        metrics = self._service.metrics
        last, is_first = time.perf_counter(), True
        while choices:
            update = await mailbox.get()
            if isinstance(update, Failure):
                raise update.error
            now = time.perf_counter()
            (metrics.first_token if is_first else metrics.gap).observe(now - last)
            last, is_first = now, False
            choices -= update.finish_reason is not None
            metrics.completion_tokens.inc(update.tokens)
            yield update
