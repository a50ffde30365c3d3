"""The verbose report of where a model ran and how long it took."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from gpt2cli.cli.output.messages import Messages

if TYPE_CHECKING:
    from gpt2cli.cli.options.shared import OpenModel
    from gpt2cli.generation.continuation import Continuation
    from gpt2cli.generation.samples.made_sample import MadeSample
    from gpt2cli.generation.samples.pieces import Timing
    from gpt2cli.serving.remote.continuation import RemoteContinuation


def print_timing(messages: Messages, loaded: OpenModel, start: float) -> None:
    """Print, if verbose, where a model ran and the time since `start` (time.perf_counter)."""
    ops = loaded.model.ops
    messages.detail(
        f"{loaded.files.name} on {ops.name} ({ops.device_name}, {ops.dtype_name}): "
        f"loaded in {loaded.seconds:.3f} s, scored in {time.perf_counter() - start:.3f} s"
    )


def generation_summary(
    run: Continuation | RemoteContinuation, completions: Collection[MadeSample], timing: Timing
) -> str:
    """Return one line on where samples were made together, how many tokens, and how fast."""
    ops = run.loaded.model.ops
    tokens = sum(len(completion.tokens) for completion in completions)
    return (
        f"{run.loaded.files.name} on {ops.name} ({ops.device_name}, {ops.dtype_name}), seed {run.seed}: "
        f"loaded in {timing.load_seconds:.3f} s, read {len(run.prompt.ids):,} tokens in "
        f"{timing.prefill_seconds:.3f} s, wrote {tokens:,} in {timing.decode_seconds:.3f} s "
        f"({tokens / timing.decode_seconds:.1f} tokens/s){_drafts_summary(completions)}"
    )


def _drafts_summary(completions: Collection[MadeSample]) -> str:
    drafts = [completion.drafts for completion in completions if completion.drafts]
    if not drafts:
        return ""
    passes = sum(entry.passes for entry in drafts)
    proposed = sum(entry.proposed for entry in drafts)
    accepted = sum(entry.accepted for entry in drafts)
    rate = f", {1 + accepted / passes:.2f} tokens a pass" if passes else ""
    return f", {accepted:,} of {proposed:,} draft tokens accepted{rate}"
