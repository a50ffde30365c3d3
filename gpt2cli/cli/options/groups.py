"""Groups of options: frozen dataclasses whose fields become options of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from inspect import Parameter
from typing import Annotated, Any, get_args

from typer.models import OptionInfo


def takes_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Expand each group among a command's parameters into one parameter per option.

    A group is a frozen dataclass, or a subclass of one that needs no decorator. Its options are the fields
    that its own body annotates with `Annotated[..., typer.Option(...)]`. Other inherited fields keep their
    defaults. The help lists the options in the order of the signature, defaults included.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if is_dataclass(parameter.annotation)
    }
    options = {name: _options(group) for name, group in groups.items()}
    parameters: list[Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters += options.get(name, [parameter.replace(kind=Parameter.KEYWORD_ONLY)])
    parameters = [_with_default_in_help(parameter) for parameter in parameters]

    @wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{option.name: values.pop(option.name) for option in options[name]})
        command(**values)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def option_types(group: Any) -> dict[str, Any]:
    """Return the annotated types of a group's options, in the order of the class body."""
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


def _with_default_in_help(parameter: Parameter) -> Parameter:
    """Move an option's default into its help text, because Typer prints it on a separate line."""
    option = next((entry for entry in get_args(parameter.annotation) if isinstance(entry, OptionInfo)), None)
    shown = "" if option is None else _shown_default(option, parameter.default)
    if option is None or not shown:
        return parameter
    shown_option = copy(option)
    shown_option.help, shown_option.show_default = f"{option.help} [default: {shown}]", False
    return parameter.replace(annotation=Annotated[get_args(parameter.annotation)[0], shown_option])


def _shown_default(option: OptionInfo, default: Any) -> str:
    if isinstance(option.show_default, str):
        return option.show_default
    # Typer names a flag's default by the flag itself.
    is_shown = option.show_default and default is not Parameter.empty and not isinstance(default, bool)
    if not is_shown or default in (None, (), []):
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)
