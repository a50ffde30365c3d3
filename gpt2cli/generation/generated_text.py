"""What a program gets for a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpt2cli.generation.engine import FinishReason


@dataclass(frozen=True)
class GeneratedText:
    """One sample: its text, and what it takes to make it again.

    `token_ids` may go beyond the text, which ends before a stop text. `logprobs` has the fields of the OpenAI
    completions API, in nats; None if they were not asked for.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    seed: int
    sample: int
    prompt_tokens: int
    prompt_truncated: bool
    logprobs: dict[str, Any] | None = None
