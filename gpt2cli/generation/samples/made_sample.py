"""What samples that are made here have in common with those that a server made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from gpt2cli.generation.requests import FinishReason
from gpt2cli.generation.speculation import Drafts


class MadeSample(Protocol):
    """A sample that is complete, made here or by a server."""

    finish_reason: FinishReason | None

    @property
    def text(self) -> str:
        """The text that is final."""

    @property
    def tokens(self) -> Sequence[Any]:
        """The tokens, each with an `id`."""

    @property
    def usage(self) -> Mapping[str, int]:
        """The numbers of tokens."""

    @property
    def mean_logprob(self) -> float | None:
        """The mean log-probability, in nats, of the tokens that begin in the text; None if it is unknown."""

    @property
    def drafts(self) -> Drafts | None:
        """What was drafted, with speculation."""

    def logprobs_table(self) -> dict[str, Any]:
        """Return log-probabilities with the field names of the OpenAI completions API."""
