"""Requests as JSON: their fields checked and turned into a prompt and settings, and errors as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from gpt2cli.errors import ContextError, Error, InputError, UsageError
from gpt2cli.generation.settings import Overflow, SampleSettings, StopAt, Truncation
from gpt2cli.generation.settings import PromptText as PromptText

VERSION = 1
INVALID_REQUEST, SERVER_ERROR = "invalid_request_error", "server_error"
CONTEXT_EXCEEDED = "context_length_exceeded"
_PARAMETER = re.compile(r"`(\w+)`")


class RequestError(UsageError):
    """Reject a request, with the field that is wrong and a code for programs."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


@dataclass(frozen=True)
class CompletionRequest:
    """A prompt to continue: a text, ids, or None for the BOS token, and how.

    With `echo`, answers begin with the prompt; with `stream`, they come in pieces too.
    """

    prompt: PromptText
    settings: SampleSettings
    echo: bool = False
    stream: bool = False


def read_object(data: str | bytes) -> dict[str, Any]:
    """Return the JSON object that a line holds.

    Raises:
        RequestError: it holds none, or a name twice.
    """
    try:
        value = json.loads(
            data,
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse_constant,
            parse_float=_parse_float,
        )
    except RecursionError as error:
        raise RequestError("The JSON is nested too deeply.", code="invalid_json") from error
    except ValueError as error:
        what = "UTF-8" if isinstance(error, UnicodeDecodeError) else "JSON"
        raise RequestError(f"The line is not {what}: {error}.", code="invalid_json") from error
    if not isinstance(value, dict):
        raise RequestError("The line is not a JSON object.", code="invalid_json")
    return value


def parse_request(
    fields: Mapping[str, Any], defaults: SampleSettings, echo: bool = False
) -> CompletionRequest:
    """Return the request that fields describe; a field that is missing or null has its default.

    Raises:
        RequestError: a field is unknown, of another type or out of range, or there is no prompt.
    """
    rest = dict(fields)
    flags = {name: rest.pop(name, None) for name in ("echo", "stream", "unconditional")}
    flags = {name: value for name, value in flags.items() if value is not None}
    for name, value in flags.items():
        _boolean(name, value)
    prompt = parse_prompt(rest.pop("prompt", None), flags.get("unconditional", False))
    return CompletionRequest(
        prompt, parse_settings(rest, defaults), flags.get("echo", echo), flags.get("stream", False)
    )


def parse_prompt(value: Any, unconditional: bool = False) -> PromptText:
    """Return a prompt: a text, ids, or None if generation is unconditional.

    Raises:
        RequestError: it is missing, empty or neither, or there is one all the same.
    """
    if unconditional:
        if value is not None:
            raise RequestError("An unconditional request takes no prompt.", "prompt")
        return None
    if value is None:
        raise RequestError("The request has no prompt.", "prompt", "missing_required_parameter")
    if isinstance(value, list) and all(map(_is_integer, value)):
        value = tuple(value)
    elif not isinstance(value, str):
        raise _wrong_type("prompt", "a text or a list of token ids", value)
    if not value:
        raise RequestError("The prompt is empty. Use unconditional to start without one.", "prompt")
    found: PromptText = value
    return found


def parse_settings(fields: Mapping[str, Any], defaults: SampleSettings) -> SampleSettings:
    """Return the defaults with the values that fields give, by the names that `SampleSettings` has for them.

    A value of None is the default.

    Raises:
        RequestError: a field is unknown, of another type or out of range.
    """
    values = {}
    for name, value in fields.items():
        if name not in _READERS:
            raise RequestError(f"There is no field {name!r}.", name, "unknown_parameter")
        if value is not None:
            values[name] = _READERS[name](name, value)
    try:
        return replace(defaults, **values) if values else defaults
    except UsageError as error:
        raise rejected(error) from error


def rejected(error: UsageError | InputError) -> RequestError:
    """Return an error of the library as that of a request."""
    if isinstance(error, RequestError):
        return error
    named = _PARAMETER.search(error.message)
    if isinstance(error, ContextError):
        return RequestError(_plain(str(error)), "prompt", CONTEXT_EXCEEDED)
    return RequestError(_plain(str(error)), named[1] if named else None)


def error_object(error: Error) -> dict[str, Any]:
    """Return an error as the OpenAI API describes one; what is wrong with the request has its own type."""
    if isinstance(error, UsageError | InputError):
        error = rejected(error)
    is_invalid = isinstance(error, RequestError)
    return {
        "message": _plain(str(error)),
        "type": INVALID_REQUEST if is_invalid else SERVER_ERROR,
        "param": getattr(error, "param", None),
        "code": getattr(error, "code", None),
    }


def _plain(message: str) -> str:
    # Fields are what parameters are called here.
    return message.replace("`", "")


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError(f"The field {twice!r} is given twice.", twice)
    return found


def _parse_float(text: str) -> int | float:
    # JSON has one type of numbers, and some writers give whole ones a fraction of zero.
    value = float(text)
    return int(value) if value.is_integer() else value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number there")


def _wrong_type(name: str, expected: str, value: Any) -> RequestError:
    shown = json.dumps(value, ensure_ascii=False)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return RequestError(f"{name} must be {expected}, not {shown}.", name, "invalid_type")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _integer(name: str, value: Any) -> int:
    if not _is_integer(value):
        raise _wrong_type(name, "a whole number", value)
    return int(value)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(name, "a number", value)
    try:
        return float(value)
    except OverflowError as error:
        raise _wrong_type(name, "a number that a float holds", value) from error


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(name, "true or false", value)
    return value


def _texts(name: str, value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _wrong_type(name, "a text or a list of texts", value)
    return tuple(texts)


def _biases(name: str, value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise _wrong_type(name, "an object of texts and numbers", value)
    return {text: _number(name, logits) for text, logits in value.items()}


def _choice(*choices: str) -> Callable[[str, Any], str]:
    def read(name: str, value: Any) -> str:
        if value not in choices:
            raise _wrong_type(name, f"{', '.join(choices[:-1])} or {choices[-1]}", value)
        return str(value)

    return read


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("max_tokens", "min_tokens", "top_k", "no_repeat_ngram"), _integer),
    **dict.fromkeys(("seed", "num_samples", "best_of", "logprobs"), _integer),
    **dict.fromkeys(("temperature", "top_p", "min_p", "repetition_penalty"), _number),
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), _number),
    **dict.fromkeys(("keep_stop", "ignore_eos", "special", "bos"), _boolean),
    **dict.fromkeys(("stop", "ban"), _texts),
    "bias": _biases,
    "stop_at": _choice(*get_args(StopAt)),
    "truncate": _choice(*get_args(Truncation)),
    "overflow": _choice(*get_args(Overflow)),
}
