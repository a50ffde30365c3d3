"""The body of a request for completions, with the names and defaults of the OpenAI API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpt2cli.errors import shown
from gpt2cli.generation.settings import SampleSettings
from gpt2cli.serving.protocol import PromptText, RequestError, parse_prompt, parse_settings

MOST_LOGPROBS = 100
MOST_CHOICES = 128
DEFAULTS = SampleSettings(max_tokens=16, temperature=1.0, top_k=0, top_p=1.0)
# What has the same name and meaning here.
SETTINGS = (
    *("max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty"),
    *("frequency_penalty", "stop", "seed", "ignore_eos", "logprobs"),
)
# Numbers beyond these would be infinite in 32 bits once they have been applied to logits.
RANGES = {
    "temperature": (0.0, 1000.0),
    "presence_penalty": (-100.0, 100.0),
    "frequency_penalty": (-100.0, 100.0),
    "repetition_penalty": (0.01, 100.0),
    "logprobs": (0, MOST_LOGPROBS),
}
FLAGS = ("echo", "stream", "return_token_ids")
OTHERS = ("model", "prompt", "n", "best_of", "logit_bias", "stream_options", "suffix", "user")


@dataclass(frozen=True)
class CompletionBody:
    """What a request for completions asks for; `biases` are logits added to ids."""

    prompts: Sequence[PromptText]
    settings: SampleSettings
    biases: Mapping[int, float]
    model: Any
    echo: bool
    stream: bool
    with_ids: bool
    with_usage: bool

    @property
    def choices(self) -> int:
        """The number of choices of the answer."""
        return len(self.prompts) * self.settings.num_samples


def parse_body(fields: Mapping[str, Any]) -> CompletionBody:
    """Return what the fields of a body ask for; null is the default.

    Raises:
        RequestError: a field is unknown, not supported, of another type or out of range.
    """
    for name in fields:
        if name not in (*SETTINGS, *FLAGS, *OTHERS):
            raise RequestError(f"There is no field {shown(name)}.", name, "unknown_parameter")
    given = {name: value for name, value in fields.items() if value is not None}
    if not isinstance(given.get("user", ""), str):
        raise RequestError("user must be a text.", "user", "invalid_type")
    if given.get("suffix"):
        raise RequestError("suffix is not supported: text is continued, not filled in.", "suffix")
    flags = {name: _flag(given, name) for name in FLAGS}
    settings = parse_settings({name: given[name] for name in SETTINGS if name in given}, DEFAULTS)
    settings = replace(settings, num_samples=_choices(given))
    for name, (least, most) in RANGES.items():
        if not least <= (getattr(settings, name) or least) <= most:
            raise RequestError(f"{name} must be from {least:g} to {most:g}.", name)
    return CompletionBody(
        prompts=_prompts(given.get("prompt")),
        settings=settings,
        biases=_biases(given.get("logit_bias", {})),
        model=given.get("model"),
        echo=flags["echo"],
        stream=flags["stream"],
        with_ids=flags["return_token_ids"],
        with_usage=_with_usage(given),
    )


def _prompts(value: Any) -> list[PromptText]:
    several = isinstance(value, list) and value and not all(_is_integer(entry) for entry in value)
    entries = value if several else ["" if value is None else value]
    # As in the OpenAI API, an empty text starts a document.
    return [None if entry == "" else parse_prompt(entry) for entry in entries]


def _choices(given: Mapping[str, Any]) -> int:
    count = given.get("n", 1)
    if not _is_integer(count) or not 1 <= count <= MOST_CHOICES:
        raise RequestError(f"n must be a whole number from 1 to {MOST_CHOICES}.", "n")
    if given.get("best_of", count) != count:
        raise RequestError("best_of must be n or left out.", "best_of")
    return int(count)


def _biases(value: Any) -> dict[int, float]:
    if not isinstance(value, dict):
        raise RequestError("logit_bias must be an object of token ids and numbers.", "logit_bias")
    found = {}
    for name, logits in value.items():
        is_number = isinstance(logits, int | float) and not isinstance(logits, bool)
        if not (name.isascii() and name.isdigit() and len(name) < 10 and is_number and -100 <= logits <= 100):
            raise RequestError(
                "logit_bias must be an object of token ids and numbers from -100 to 100.", "logit_bias"
            )
        found[int(name)] = float(logits)
    return found


def _with_usage(given: Mapping[str, Any]) -> bool:
    options = given.get("stream_options", {})
    if not isinstance(options, dict) or options.keys() - {"include_usage"}:
        raise RequestError("stream_options must be an object with include_usage.", "stream_options")
    return _flag(options, "include_usage", "stream_options")


def _flag(given: Mapping[str, Any], name: str, param: str | None = None) -> bool:
    value = given.get(name, False)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise RequestError(f"{name} must be true or false.", param or name, "invalid_type")
    return value


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
