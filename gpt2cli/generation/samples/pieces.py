"""What of a sample is final, and how long samples took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from gpt2cli.generation.requests import FinishReason
    from gpt2cli.generation.speculation import Drafts


class Piece(NamedTuple):
    """A piece of a sample's text that is final; `finish_reason` is set on the last piece.

    Of the best of several samples, `sample` counts the best.
    """

    sample: int
    text: str
    finish_reason: FinishReason | None = None


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


class Timing(NamedTuple):
    """The seconds spent on loading, on prefill, and on decoding one batch."""

    load_seconds: float
    prefill_seconds: float
    decode_seconds: float


def sample_report(run: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes every sample of a continuation again, with the settings that were chosen.

    The continuation is one made here or by a server.
    """
    ops, files = run.loaded.model.ops, run.loaded.files
    where = {"backend": ops.name, "device": ops.device_name, "dtype": ops.dtype_name}
    return {
        "prompt": run.text,
        "usage": {"prompt_tokens": len(run.prompt.ids)},
        "prompt_truncated": run.prompt.truncated,
        "seed": run.seed,
        "model": files.name,
        "revision": files.revision,
        "settings": {**settings, **where},
    }
