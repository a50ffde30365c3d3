"""What of a sample is final, and how long samples took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

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
