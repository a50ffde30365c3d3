"""The result of generation in Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpt2cli.generation.requests import FinishReason


@dataclass(frozen=True)
class GeneratedText:
    """One sample: its text, tokens and seed.

    `token_ids` may extend past the text, which ends before a stop string. `logprobs` has the fields of the
    OpenAI completions API, in nats, and `mean_logprob` is the mean over the tokens that begin in the text.
    Both are None if not requested, and so is the mean for an empty text. `prompt` is None if there was none.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    seed: int
    sample: int
    prompt_tokens: int
    prompt_truncated: bool
    logprobs: dict[str, Any] | None = None
    prompt: str | None = None
    mean_logprob: float | None = None
