"""The settings that a model's generation_config.json recommends, under the names that they have here."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from gpt2cli.checkpoint.companions.generation_config import read_generation_config
from gpt2cli.errors import CheckpointError, UsageError
from gpt2cli.generation.settings import CompletionSettings

Settings = TypeVar("Settings", bound=CompletionSettings)

_TRUNCATIONS = {"temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}
_NAMES = {
    **_TRUNCATIONS,
    "repetition_penalty": "repetition_penalty",
    "no_repeat_ngram_size": "no_repeat_ngram",
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
}
_WHOLE = ("top_k", "no_repeat_ngram_size", "max_new_tokens", "min_new_tokens")
# What these do is not done here; the values do nothing.
_UNKNOWN = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "typical_p": 1.0,
    "min_length": 0,
    # What transformers once put into every file.
    "max_length": 20,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "forced_eos_token_id": None,
}


class ModelDefaults:
    """What a generation_config.json recommends; nothing if there is no such file.

    Without `do_sample`, values for sampling count: samples are drawn here unless the temperature is 0.

    Raises:
        CheckpointError: the file is damaged.
    """

    def __init__(self, path: Path | None, values: Mapping[str, Any] | None = None) -> None:
        """Read the file, unless its values are given."""
        self._path = path
        self._values = read_generation_config(path) if values is None else values

    def changes(self, settings: CompletionSettings, chosen: Collection[str]) -> list[str]:
        """Return what would differ from settings, as in the file, except for those that the user chose."""
        values = {
            name: value
            for name, value in self._settings().items()
            if name not in chosen and value != getattr(settings, name)
        }
        temperature = values.get("temperature", settings.temperature)
        without_effect = ("top_k", "top_p", "min_p") if temperature == 0 else ()
        return [self._spelled(name) for name in values if name not in without_effect]

    def unknown(self) -> list[str]:
        """Return what the file sets that has no counterpart here, as in the file."""
        return [
            _spell(key, self._values[key])
            for key, nothing in _UNKNOWN.items()
            if self._values.get(key) not in (None, nothing, [], {})
        ]

    def keywords(self) -> dict[str, Any]:
        """Return the values by the names of `CompletionSettings`.

        Raises:
            CheckpointError: a value is out of its range.
        """
        values = self._settings()
        for key, name in _NAMES.items():
            number = values.get(name, 0)
            if isinstance(number, bool) or not isinstance(number, int if key in _WHOLE else int | float):
                raise CheckpointError(f"{self._path}: {key} must be a number, not {json.dumps(number)}.")
        try:
            CompletionSettings(**values)
        except UsageError as error:
            raise CheckpointError(f"{self._path}: {error.message.replace('`', '')}") from error
        return values

    def apply(self, settings: Settings, chosen: Collection[str]) -> Settings:
        """Return settings with the values in place of those that the user did not choose.

        Raises:
            CheckpointError: a value is out of its range.
        """
        values = {name: value for name, value in self.keywords().items() if name not in chosen}
        return replace(settings, **values)

    def _settings(self) -> dict[str, Any]:
        return dict(self._named_settings())

    def _named_settings(self) -> Iterator[tuple[str, Any]]:
        is_greedy = self._values.get("do_sample") is False
        if is_greedy:
            yield "temperature", 0.0
        for key, name in _NAMES.items():
            if self._values.get(key) is not None and not (is_greedy and key in _TRUNCATIONS):
                yield name, self._values[key]
        if stop := self._values.get("stop_strings"):
            yield "stop", [stop] if isinstance(stop, str) else stop

    def _spelled(self, name: str) -> str:
        keys: Mapping[str, str] = {own: key for key, own in _NAMES.items()} | {"stop": "stop_strings"}
        key = "do_sample" if name == "temperature" and self._values.get("do_sample") is False else keys[name]
        return _spell(key, self._values[key])


def _spell(key: str, value: Any) -> str:
    return f"{key}={json.dumps(value, ensure_ascii=False)}"
