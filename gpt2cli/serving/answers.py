"""Answers as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gpt2cli.errors import Error
from gpt2cli.serving.lines import Answer
from gpt2cli.serving.protocol import VERSION, error_object
from gpt2cli.text.json_text import json_text

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode_json(value: Any) -> bytes:
    """Return a value as JSON in UTF-8; what UTF-8 lacks becomes a question mark."""
    return _ENCODER.encode(value).encode("utf-8", "replace")


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Return an object as a line of JSON in UTF-8 that is safe to show; a lone surrogate is escaped."""
    try:
        return json_text(value).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value).encode() + b"\n"


def answer(line: int, request_id: str | int | None, body: Mapping[str, Any], tokens: int = 0) -> Answer:
    """Return the answer to a line."""
    return Answer(line, json_bytes({**head(line, request_id), **body}), tokens=tokens)


def delta(line: int, request_id: str | int | None, index: int, text: str) -> Answer:
    """Return a piece of the answer to a line that is streamed."""
    value = {**head(line, request_id), "index": index, "delta": text}
    return Answer(line, json_bytes(value), last=False)


def failure(line: int, request_id: str | int | None, error: Error) -> Answer:
    """Return the answer to a line that failed."""
    value = {**head(line, request_id), "error": error_object(error)}
    return Answer(line, json_bytes(value), failed=True)


def head(line: int, request_id: str | int | None) -> dict[str, Any]:
    """Return what every answer begins with."""
    return {"v": VERSION, "line": line, "id": request_id}
