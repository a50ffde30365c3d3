"""GPT-2 at the command line and in Python.

    >>> import gpt2cli
    >>> model = gpt2cli.load("stories")
    >>> model.generate("Once upon a time", max_tokens=20, seed=7).text

Importing the package imports nothing else; each name below is imported when it is first used.
"""

__version__ = "0.1.0"

# Type checkers take this name for typing's, whose import would cost a start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from gpt2cli.errors import CheckpointError, Error, HubError, InputError, UsageError
    from gpt2cli.generation.generated_text import GeneratedText
    from gpt2cli.hub.reporter import Reporter
    from gpt2cli.language_model import LanguageModel, load

_HOMES = {
    "CheckpointError": "errors",
    "Error": "errors",
    "GeneratedText": "generation.generated_text",
    "HubError": "errors",
    "InputError": "errors",
    "LanguageModel": "language_model",
    "Reporter": "hub.reporter",
    "UsageError": "errors",
    "load": "language_model",
}
__all__ = [
    "CheckpointError",
    "Error",
    "GeneratedText",
    "HubError",
    "InputError",
    "LanguageModel",
    "Reporter",
    "UsageError",
    "load",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
