"""What an engine is asked for, and what it answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from gpt2cli.errors import Error
from gpt2cli.generation.sampling import Sampler

if TYPE_CHECKING:
    from gpt2cli.generation.speculation import Drafts

FinishReason = Literal["stop", "length"]


class GenerationSettings(NamedTuple):
    """Settings for one sample's tokens.

    A token of `end_ids` ends a sample. `slide` drops the older half of a full context and continues.
    `speculate` reads drafts, which do not change the tokens. `logprobs` requests log-probabilities, and those
    of this many likeliest tokens.
    """

    max_tokens: int = 128
    end_ids: Collection[int] = ()
    slide: bool = False
    logprobs: int | None = None
    speculate: bool = False


class Request(NamedTuple):
    """One sample to make: the ids of its prompt, which fit the context, and how to continue them.

    The tokens depend on the sampler's seed and the sample's number, not on other requests. What is drafted is
    counted in `drafts`.
    """

    ids: Sequence[int]
    sampler: Sampler
    settings: GenerationSettings
    sample: int = 0
    drafts: Drafts | None = None


class Token(NamedTuple):
    """One chosen token, with log-probabilities in nats before any sampling filter."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Event(NamedTuple):
    """A token of a ticket or, with a reason or an error, its end, after which nothing more comes from it."""

    ticket: int
    token: Token | None = None
    finish_reason: FinishReason | None = None
    error: Error | None = None
