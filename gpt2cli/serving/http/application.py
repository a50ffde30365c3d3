"""The routes of a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from gpt2cli import __version__
from gpt2cli.model.loading import LoadedModel
from gpt2cli.serving.http.commands.candidates import predict
from gpt2cli.serving.http.commands.model import describe, find_unknown
from gpt2cli.serving.http.commands.route import CommandRoute
from gpt2cli.serving.http.commands.samples import make_samples
from gpt2cli.serving.http.commands.scores import score
from gpt2cli.serving.http.completions.route import Completions
from gpt2cli.serving.http.description import description
from gpt2cli.serving.http.edge.access import Access
from gpt2cli.serving.http.edge.body import read_body
from gpt2cli.serving.http.edge.connection import send_body, send_json
from gpt2cli.serving.http.edge.failures import RefusedError
from gpt2cli.serving.http.edge.outcomes import Outcomes
from gpt2cli.serving.http.metrics import CONTENT_TYPE
from gpt2cli.serving.http.page import PAGE, PAGE_HEADERS
from gpt2cli.serving.http.service import Service
from gpt2cli.serving.http.tokens import detokenize, tokenize, tokenizer_info
from gpt2cli.serving.protocol import read_object

Endpoint: TypeAlias = Callable[[Scope, Receive, Send], Any]
# Between this program's commands and a server of the same version.
COMMANDS = {
    "model": describe,
    "unknown": find_unknown,
    "generate": make_samples,
    "score": score,
    "next": predict,
}
NO_CHAT = "The models continue text and have no chat. Use /v1/completions."


def application(
    service: Service, hosts: Collection[str], *, any_address: bool = False, api_key: str | None = None
) -> ASGIApp:
    """Return the application that serves a model; who may ask is said as to `Access`."""

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    routes = [
        _get("/", _page),
        Route("/v1/completions", Completions(service), methods=["POST"]),
        _get("/v1/models", _models(service)),
        _get("/v1/models/{model:path}", _model(service)),
        Route("/v1/chat/completions", _Answer(_no_chat), methods=["POST"]),
        *(
            Route(f"/gpt2/{name}", CommandRoute(service, answer), methods=["POST"])
            for name, answer in COMMANDS.items()
        ),
        Route("/tokenize", _Answer(_texts(service, tokenize)), methods=["POST"]),
        Route("/detokenize", _Answer(_texts(service, detokenize)), methods=["POST"]),
        _get("/tokenizer_info", _tokenizer_info(service)),
        _get("/health", _health),
        _get("/metrics", _metrics(service)),
        _get("/openapi.json", _description(service, api_key is not None)),
    ]
    router = Router(routes, redirect_slashes=False, lifespan=lifespan)
    access = Access(router, hosts, any_address=any_address, api_key=api_key)
    return Outcomes(access, service.metrics, [route.path for route in routes])


class _Answer:
    """An endpoint; the router takes what is not a function for an application."""

    def __init__(self, answer: Endpoint) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope, receive, send)


def _get(path: str, answer: Endpoint) -> Route:
    return Route(path, _Answer(answer), methods=["GET"])


async def _page(scope: Scope, receive: Receive, send: Send) -> None:
    await send_body(send, PAGE, b"text/html; charset=utf-8", headers=PAGE_HEADERS)


async def _health(scope: Scope, receive: Receive, send: Send) -> None:
    await send_json(send, {"status": "ok"})


async def _no_chat(scope: Scope, receive: Receive, send: Send) -> None:
    raise RefusedError(404, NO_CHAT)


def _description(service: Service, needs_key: bool) -> Endpoint:
    loaded = service.loaded
    described = description(
        loaded.files.name, loaded.model.config.vocab_size, __version__, needs_key=needs_key
    )

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, described)

    return answer


def _metrics(service: Service) -> Endpoint:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send_body(send, service.metrics.exposition(), CONTENT_TYPE.encode())

    return answer


def _models(service: Service) -> Endpoint:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, {"object": "list", "data": [service.model_card]})

    return answer


def _model(service: Service) -> Endpoint:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        service.require_model(scope["path_params"]["model"])
        await send_json(send, service.model_card)

    return answer


def _tokenizer_info(service: Service) -> Endpoint:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, await service.read(tokenizer_info, service.reading))

    return answer


def _texts(service: Service, work: Callable[[LoadedModel, Mapping[str, Any]], dict[str, Any]]) -> Endpoint:
    """Return an endpoint whose answer is made of texts alone, in the thread for that."""
    limits = service.limits

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        data = await read_body(scope, receive, limits.body_bytes, limits.seconds)
        fields = await service.read(read_object, data)
        service.require_model(fields.get("model"))
        await send_json(send, await service.read(work, service.reading, fields))

    return answer
