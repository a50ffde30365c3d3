"""The verbose report of where a model ran and how long it took."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gpt2cli.cli.output.messages import Messages

if TYPE_CHECKING:
    from gpt2cli.model.loading import LoadedModel


def print_timing(messages: Messages, loaded: LoadedModel, start: float) -> None:
    """Print, if verbose, where a model ran and the time since `start` (time.perf_counter)."""
    ops = loaded.model.ops
    messages.detail(
        f"{loaded.files.name} on {ops.name} ({ops.device_name}, {ops.dtype_name}): "
        f"loaded in {loaded.seconds:.3f} s, scored in {time.perf_counter() - start:.3f} s"
    )
