"""Fields of a request as settings, none of another type than the setting has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, TypeVar

from gpt2cli.errors import shown
from gpt2cli.serving.protocol import RequestError

Settings = TypeVar("Settings")


def typed(make: Callable[..., Settings], fields: Any, types: Mapping[str, tuple[type, ...]]) -> Settings:
    """Return settings made of fields; null is the default.

    Raises:
        RequestError: a field is unknown, missing or of another type.
        UsageError: a value is out of its range.
    """
    if not isinstance(fields, Mapping):
        raise RequestError("The settings are not an object.", "settings", "invalid_type")
    values = {}
    for name, value in fields.items():
        if name not in types:
            raise RequestError(f"There is no setting {shown(name)}.", name, "unknown_parameter")
        if value is None:
            continue
        is_flag = isinstance(value, bool)
        if not isinstance(value, types[name]) or (is_flag and bool not in types[name]):
            raise RequestError(f"{name} has another type.", name, "invalid_type")
        values[name] = value
    for name, parameter in signature(make).parameters.items():
        if parameter.default is parameter.empty and name not in values:
            raise RequestError(f"{name} is missing.", name, "missing_required_parameter")
    return make(**values)


def texts(value: Any, name: str) -> Sequence[str]:
    """Return a list of texts.

    Raises:
        RequestError: it is none.
    """
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise RequestError(f"{name} must be a list of texts.", name, "invalid_type")
    return value
