"""Groups of options: frozen dataclasses whose fields become options of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from inspect import Parameter
from typing import Any


def takes_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Expand the groups among a command's parameters into one parameter for each option.

    A group is a frozen dataclass; a subclass of one needs no decorator. Its options are the fields that its
    own body annotates with `Annotated[..., typer.Option(...)]`; a field that only its base class has keeps
    its default. The help shows the options where the group stands in the signature.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if is_dataclass(parameter.annotation)
    }
    parameters: list[Parameter] = []
    for name, parameter in signature.parameters.items():
        own = [parameter.replace(kind=Parameter.KEYWORD_ONLY)]
        parameters += _options(groups[name]) if name in groups else own

    @wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{option: values.pop(option) for option in option_types(group)})
        command(**values)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def option_types(group: Any) -> dict[str, Any]:
    """Return the annotated types of a group's options, in the order of its body."""
    return inspect.get_annotations(group, eval_str=True)


def _options(group: Any) -> list[Parameter]:
    known = {field.name: field for field in fields(group)}
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, default=_default(known[name]), annotation=annotation)
        for name, annotation in option_types(group).items()
    ]


def _default(field: Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    return Parameter.empty if field.default_factory is MISSING else field.default_factory()
