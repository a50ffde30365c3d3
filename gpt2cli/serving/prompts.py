"""The ids and the text of a request's prompt."""

from __future__ import annotations

from gpt2cli.generation.continuation import Prompt, decode_prompt, encode_prompt
from gpt2cli.generation.settings import CompletionSettings
from gpt2cli.model.loading import LoadedModel
from gpt2cli.serving.protocol import PromptText


def prompt_ids(loaded: LoadedModel, prompt: PromptText, settings: CompletionSettings) -> Prompt:
    """Return the ids of a prompt, truncated to the context if the settings allow; ids are taken as given.

    Raises:
        UsageError, InputError: as `encode_prompt` does.
    """
    return encode_prompt(loaded, prompt, settings)


def prompt_text(loaded: LoadedModel, prompt: PromptText) -> str:
    """Return the text of a prompt."""
    return decode_prompt(loaded, prompt) if isinstance(prompt, tuple) else prompt or ""
