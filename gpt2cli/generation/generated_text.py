"""The result of generation in Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpt2cli.generation.engine import FinishReason


@dataclass(frozen=True)
class GeneratedText:
    """One sample: its text, tokens and seed.

    `token_ids` may extend past the text, which ends before a stop string. `logprobs` has the fields of the
    OpenAI completions API, in nats, or is None if not requested.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    seed: int
    sample: int
    prompt_tokens: int
    prompt_truncated: bool
    logprobs: dict[str, Any] | None = None
