"""What of a sample is final, and how long samples took."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gpt2cli.generation.requests import FinishReason


class Piece(NamedTuple):
    """A piece of a sample's text that is final; `finish_reason` is set on the last piece.

    Of the best of several samples, `sample` counts the best.
    """

    sample: int
    text: str
    finish_reason: FinishReason | None = None


class Timing(NamedTuple):
    """The seconds spent on loading, on prefill, and on decoding one batch."""

    load_seconds: float
    prefill_seconds: float
    decode_seconds: float
