"""GPT-2 and its family at the command line and in Python.

    >>> import gpt2cli
    >>> model = gpt2cli.load("stories")
    >>> model.generate("Once upon a time", max_tokens=20, seed=7).text

Importing the package imports nothing else. Each name below is imported when it is first used.
"""

__version__ = "0.1.0"

# Type checkers treat this name like typing.TYPE_CHECKING, whose import would slow down every start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from gpt2cli.errors import CheckpointError, Error, HubError, InputError, UsageError
    from gpt2cli.generation.samples.generated_text import GeneratedText
    from gpt2cli.hub.reporter import Reporter
    from gpt2cli.language_model import LanguageModel, load
    from gpt2cli.model.exporting import export
    from gpt2cli.text.opening import open_tokenizer as tokenizer
    from gpt2cli.text.tokenizer import Tokenizer
    from gpt2cli.training.train import TrainingResult, train

__all__ = [
    "CheckpointError",
    "Error",
    "GeneratedText",
    "HubError",
    "InputError",
    "LanguageModel",
    "Reporter",
    "Tokenizer",
    "TrainingResult",
    "UsageError",
    "export",
    "load",
    "tokenizer",
    "train",
]
_HOMES = {
    "CheckpointError": "errors.CheckpointError",
    "Error": "errors.Error",
    "GeneratedText": "generation.samples.generated_text.GeneratedText",
    "HubError": "errors.HubError",
    "InputError": "errors.InputError",
    "LanguageModel": "language_model.LanguageModel",
    "Reporter": "hub.reporter.Reporter",
    "Tokenizer": "text.tokenizer.Tokenizer",
    "TrainingResult": "training.train.TrainingResult",
    "UsageError": "errors.UsageError",
    "export": "model.exporting.export",
    "load": "language_model.load",
    "tokenizer": "text.opening.open_tokenizer",
    "train": "training.train.train",
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        module, _, attribute = _HOMES[name].rpartition(".")
        value: object = getattr(import_module(f"{__name__}.{module}"), attribute)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
