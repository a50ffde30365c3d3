"""Lines of the OpenAI API's batch files, answered as its server answers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gpt2cli.errors import Error, shown
from gpt2cli.model.loading import LoadedModel
from gpt2cli.serving.answers import json_bytes
from gpt2cli.serving.engine_owner import EngineOwner
from gpt2cli.serving.http.completions.answer import CompletionAnswer
from gpt2cli.serving.http.completions.choices import Update, begin, read_work
from gpt2cli.serving.http.completions.fields import CompletionBody, parse_body
from gpt2cli.serving.http.tickets import Failure, Tickets
from gpt2cli.serving.lines import Answer
from gpt2cli.serving.protocol import SERVER_ERROR, RequestError, error_object
from gpt2cli.serving.seeds import line_seed

FIELDS = ("custom_id", "method", "url", "body")
URL = "/v1/completions"
OK, BAD_REQUEST, FAILED = 200, 400, 500


class BatchLines:
    """Answer batch lines with an engine; `seed` is that of the run. Answers are given to `post`."""

    def __init__(
        self, loaded: LoadedModel, owner: EngineOwner, seed: int, post: Callable[[Answer], object]
    ) -> None:
        self._loaded = loaded
        self._owner = owner
        self._seed = seed
        self._post = post

    def submit(self, line: int, fields: Mapping[str, Any]) -> None:
        """Take a line, which gets an answer even if it makes no sense."""
        found = fields.get("custom_id")
        custom_id = found if isinstance(found, str) else None
        try:
            body = _body(fields)
            if body.settings.seed is None:
                seed = line_seed(self._seed, line, custom_id)
                body = replace(body, settings=replace(body.settings, seed=seed))
            self._start(line, custom_id, body)
        except Error as error:
            self._fail(line, custom_id, error)

    def _start(self, line: int, custom_id: str | None, body: CompletionBody) -> None:
        work = read_work(self._loaded, body)
        answer = CompletionAnswer(f"cmpl-{line}", self._loaded.files.name, body, work)
        left = body.choices

        def take(update: Update | Failure) -> None:
            nonlocal left
            if isinstance(update, Failure):
                if not isinstance(update.error, Error):
                    raise update.error
                self._fail(line, custom_id, update.error)
                return
            answer.add(update)
            left -= update.finish_reason is not None
            if not left:
                whole = answer.whole()
                made = whole["usage"]["completion_tokens"]
                self._post(Answer(line, _line(line, custom_id, OK, whole), tokens=made))

        begin(self._loaded, work, Tickets(self._owner, take))

    def _fail(self, line: int, custom_id: str | None, error: Error) -> None:
        found = error_object(error)
        status = FAILED if found["type"] == SERVER_ERROR else BAD_REQUEST
        self._post(Answer(line, _line(line, custom_id, status, {"error": found}), failed=True))


def _body(fields: Mapping[str, Any]) -> CompletionBody:
    for name in fields:
        if name not in FIELDS:
            raise RequestError(f"There is no field {shown(name)} beside body.", name, "unknown_parameter")
    expected = {"method": "POST", "url": URL}
    for name, value in expected.items():
        if fields.get(name) != value:
            raise RequestError(f"{name} must be {value}.", name)
    if not isinstance(fields.get("custom_id"), str):
        raise RequestError("custom_id must be a text.", "custom_id", "invalid_type")
    if not isinstance(fields.get("body"), dict):
        raise RequestError("body must be an object.", "body", "invalid_type")
    body = parse_body(fields["body"])
    if body.stream:
        raise RequestError("A line of a batch has no stream.", "stream")
    return body


def _line(line: int, custom_id: str | None, status: int, body: Mapping[str, Any]) -> bytes:
    response = {"status_code": status, "request_id": f"req_{line}", "body": body}
    return json_bytes(
        {"id": f"batch_req_{line}", "custom_id": custom_id, "response": response, "error": None}
    )
