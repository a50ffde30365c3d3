"""The ids of a request's prompt."""

from __future__ import annotations

from gpt2cli.generation.continuation import Prompt, encode_prompt
from gpt2cli.generation.batch import fit_prompt
from gpt2cli.generation.settings import CompletionSettings
from gpt2cli.model.loading import LoadedModel
from gpt2cli.serving.protocol import PromptText, RequestError


def prompt_ids(loaded: LoadedModel, prompt: PromptText, settings: CompletionSettings) -> Prompt:
    """Return the ids of a prompt, truncated to the context if the settings allow; ids are taken as given.

    Raises:
        UsageError: the prompt does not fit the context, an id is not the model's, or a needed BOS token is
            missing.
        InputError: the text is not Unicode.
    """
    if not isinstance(prompt, tuple):
        return encode_prompt(loaded, prompt, settings)
    config = loaded.model.config
    for token_id in prompt:
        if not 0 <= token_id < config.vocab_size:
            raise RequestError(f"The model has no token {token_id}.", "prompt")
    return Prompt(*fit_prompt(prompt, config.n_positions, settings.max_tokens, settings.truncate))


def prompt_text(loaded: LoadedModel, prompt: PromptText) -> str:
    """Return the text of a prompt."""
    if isinstance(prompt, tuple):
        return loaded.tokenizer.decode(prompt).decode("utf-8", errors="replace")
    return prompt or ""
