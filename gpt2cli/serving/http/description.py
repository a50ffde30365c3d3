"""The OpenAPI description of the routes, for the model that is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpt2cli.serving.http.completions.fields import MOST_CHOICES, MOST_LOGPROBS

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
# Of a stream, each event is described.
EVENT: Schema = {"type": "object", "properties": {"data": TEXT}, "required": ["data"]}
REFUSED = {
    400: "The request is wrong, or does not fit the context.",
    401: "The API key is missing or wrong.",
    404: "There is no such model or path.",
    408: "The request did not arrive in time.",
    413: "The request is too large.",
    415: "The request is not JSON.",
    429: "Too many requests are waiting.",
    503: "The answer took too long, or the server stops.",
}


def description(model: str, vocab_size: int, version: str, *, needs_key: bool) -> Schema:
    """Return the description in OpenAPI 3.1 of a server of a model."""
    completion = _completion_request(model, vocab_size)
    token_ids = _list({"type": "integer", "minimum": 0, "maximum": vocab_size - 1})
    paths = {
        "/v1/completions": _post(
            "Continue texts, or score them.", completion, _completion(), ["text/event-stream"]
        ),
        "/tokenize": _post(
            "Return the ids of a text.",
            _object(
                {"model": _nullable(_only(model)), "prompt": TEXT, "add_special_tokens": FLAG}, ["prompt"]
            ),
            _object({"count": COUNT, "max_model_len": COUNT, "tokens": _list(COUNT)}),
        ),
        "/detokenize": _post(
            "Return the text of ids.",
            _object({"model": _nullable(_only(model)), "tokens": token_ids}, ["tokens"]),
            _object({"prompt": TEXT}),
        ),
        "/v1/models": _get("List the models.", _object({"object": TEXT, "data": _list(_model())})),
        "/tokenizer_info": _get(
            "Return what the special tokens are called.",
            _object(
                {
                    "bos_token": _nullable(TEXT),
                    "eos_token": _nullable(TEXT),
                    "special_tokens": _list(TEXT),
                    "vocab_size": COUNT,
                }
            ),
        ),
        "/health": _get("Answer if the server works.", _object({"status": TEXT})),
        "/metrics": _get("Return counts for Prometheus.", TEXT, "text/plain"),
    }
    found: Schema = {
        "openapi": "3.1.0",
        "info": {"title": f"gpt2 serve: {model}", "version": version},
        "paths": paths,
        "components": {"schemas": {"Error": _error()}},
    }
    if needs_key:
        found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, methods in paths.items():
            if path != "/health":
                for operation in methods.values():
                    operation["security"] = [{"key": []}]
    return found


def _completion_request(model: str, vocab_size: int) -> Schema:
    ids = _list({"type": "integer", "minimum": 0, "maximum": vocab_size - 1}, least=1)
    text = {"type": "string", "minLength": 1}
    penalty = {"type": "number", "minimum": -100, "maximum": 100}
    share = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    fields: dict[str, Schema] = {
        "model": _only(model),
        "prompt": {"anyOf": [TEXT, _list(TEXT, least=1), ids, _list(ids, least=1)]},
        "max_tokens": {**COUNT, "default": 16},
        "echo": {**FLAG, "default": False},
        "logprobs": {**COUNT, "maximum": MOST_LOGPROBS},
        "n": {"type": "integer", "minimum": 1, "maximum": MOST_CHOICES, "default": 1},
        "seed": {"type": "integer", "minimum": 0, "maximum": 2**64 - 1},
        "stop": {"anyOf": [text, _list(text)]},
        "temperature": {"type": "number", "minimum": 0, "maximum": 1000, "default": 1},
        "top_p": {**share, "default": 1},
        "top_k": {**COUNT, "default": 0},
        "min_p": {"type": "number", "minimum": 0, "maximum": 1, "default": 0},
        "presence_penalty": {**penalty, "default": 0},
        "frequency_penalty": {**penalty, "default": 0},
        "repetition_penalty": {"type": "number", "minimum": 0.01, "maximum": 100, "default": 1},
        "logit_bias": {
            "type": "object",
            "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
        },
        "stream": {**FLAG, "default": False},
        "stream_options": _object({"include_usage": _nullable(FLAG)}, []),
        "ignore_eos": {**FLAG, "default": False},
        "return_token_ids": {**FLAG, "default": False},
        "user": TEXT,
    }
    fields["logit_bias"]["propertyNames"] = {
        "enum": [str(token_id) for token_id in range(min(vocab_size, 100))]
    }
    return _object({name: _nullable(schema) for name, schema in fields.items()}, [])


def _completion() -> Schema:
    logprobs = {
        "tokens": _list(TEXT),
        "token_logprobs": _list(_nullable(NUMBER)),
        "top_logprobs": _list(_nullable({"type": "object", "additionalProperties": NUMBER})),
        "text_offset": _list(COUNT),
        "top_tokens": _list(_list(_object({"id": COUNT, "token": TEXT, "logprob": NUMBER}))),
    }
    reason = _nullable({"enum": ["stop", "length"]})
    choice = {
        "index": COUNT,
        "text": TEXT,
        "logprobs": _nullable(_object(logprobs, [name for name in logprobs if name != "top_tokens"])),
        "finish_reason": reason,
        "token_ids": _list(COUNT),
    }
    usage = _object({"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT})
    whole = {
        "id": TEXT,
        "object": TEXT,
        "created": COUNT,
        "model": TEXT,
        "seed": COUNT,
        "choices": _list(_object(choice, ["index", "text", "logprobs", "finish_reason"])),
        "usage": usage,
    }
    return _object(whole)


def _model() -> Schema:
    return _object({"id": TEXT, "object": TEXT, "created": COUNT, "owned_by": TEXT, "max_model_len": COUNT})


def _error() -> Schema:
    fields = {"message": TEXT, "type": TEXT, "param": _nullable(TEXT), "code": _nullable(TEXT)}
    return _object({"error": _object(fields)})


def _object(properties: Mapping[str, Schema], required: Sequence[str] | None = None) -> Schema:
    needed = list(properties) if required is None else list(required)
    return {
        "type": "object",
        "properties": dict(properties),
        "required": needed,
        "additionalProperties": False,
    }


def _list(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": least}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _only(value: str) -> Schema:
    return {"enum": [value]}


def _responses(answer: Schema, kinds: Sequence[str], refused: Sequence[int]) -> Schema:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    content = {kinds[0]: {"schema": answer}, **{kind: {"schema": EVENT} for kind in kinds[1:]}}
    found: Schema = {"200": {"description": "The answer.", "content": content}}
    return found | {str(status): {"description": REFUSED[status], "content": error} for status in refused}


def _post(summary: str, body: Schema, answer: Schema, kinds: Sequence[str] = ()) -> Schema:
    content = {"application/json": {"schema": body}}
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": content},
            "responses": _responses(answer, ["application/json", *kinds], list(REFUSED)),
        }
    }


def _get(summary: str, answer: Schema, kind: str = "application/json") -> Schema:
    return {"get": {"summary": summary, "responses": _responses(answer, [kind], [401, 503])}}
