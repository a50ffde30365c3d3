"""An estimate of the memory that training takes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.roles import is_layer_matrix, layer_of
from gpt2cli.checkpoint.weights import expected_shapes
from gpt2cli.errors import UsageError
from gpt2cli.training.plan.settings import TrainingSettings

MUON_BYTES, ADAMW_BYTES = 4, 8
# What a block keeps for each token until the backward pass, in units of its width: the inputs and outputs
# of both norms, and what the passes allocate beside. An RMS norm also keeps its input divided by its root.
KEPT_WIDTHS, RMS_WIDTHS = 7, 2
# The inner layer before and after its activation, and in a gated MLP the other factor and the product. The
# derivative of ReLU follows from its output.
KEPT_INNER, RELU_INNER, GATED_INNER = 2, 1, 4
LOGITS_COPIES = 3
# With dropout, PyTorch materializes the attention matrix of each head, and keeps what each residual drops.
ATTENTION_COPIES, DROPPED_WIDTHS = 4, 2
# The interpreter, PyTorch and the allocator's slack.
BASE_BYTES = 350_000_000
LORA_RANK = 8


def estimate_memory(config: ModelConfig, settings: TrainingSettings) -> int:
    """Return the bytes that training takes at its peak, about."""
    shapes = expected_shapes(config)
    total = sum(map(math.prod, shapes.values()))
    trained = {name: shape for name, shape in shapes.items() if not settings.freezes(name)}
    if settings.lora:
        matrices = [shape for name, shape in shapes.items() if is_layer_matrix(name, shape)]
        trained = {str(number): (settings.lora, sum(shape)) for number, shape in enumerate(matrices)}
    fixed = 4 * total + sum(_bytes_each(name, settings) * math.prod(shape) for name, shape in trained.items())
    reduced = 2 * total if settings.precision == "bfloat16" else 0
    return BASE_BYTES + fixed + reduced + settings.micro_batch * window_bytes(config, settings)


def window_bytes(config: ModelConfig, settings: TrainingSettings) -> int:
    """Return the bytes that the activations of one window take, about."""
    size = 2 if settings.precision == "bfloat16" else 4
    kept = size * _kept_numbers(config)
    if settings.dropout:
        kept += 4 * (ATTENTION_COPIES * config.n_head * settings.context + DROPPED_WIDTHS * config.n_embd)
    blocks = config.n_layer - settings.freeze
    return settings.context * (max(0, blocks) * kept + LOGITS_COPIES * 4 * config.vocab_size)


def suitable_micro_batch(config: ModelConfig, settings: TrainingSettings, budget: int) -> int:
    """Return how many windows of a step fit into one pass, whose activations may take `budget` bytes."""
    return max(1, min(settings.batch_size, budget // window_bytes(config, settings)))


def require_memory(config: ModelConfig, settings: TrainingSettings, available: int) -> int:
    """Return the estimate in bytes.

    Raises:
        UsageError: it exceeds the available bytes; the hint says what would help.
    """
    needed = estimate_memory(config, settings)
    if needed <= available:
        return needed
    raise UsageError(
        f"Training would take about {_gigabytes(needed)} of memory, and {_gigabytes(available)} are free.",
        _what_helps(config, settings, available),
    )


def available_memory() -> int:
    """Return the bytes of main memory that are free for this process."""
    return min(_free_memory())


def _kept_numbers(config: ModelConfig) -> int:
    """Return how many numbers a block keeps of each token."""
    facts = config.architecture
    widths = KEPT_WIDTHS + (RMS_WIDTHS if facts.norm == "rms" else 0)
    # Queries, keys and values, and the output, which is as wide as the queries.
    attended = config.head_width * (config.n_head + config.kv_heads)
    # Rotated queries and keys lie beside the fused ones, which the values keep.
    copies = 3 if facts.fused and config.rotary else 2
    plain = RELU_INNER if config.activation_function == "relu" else KEPT_INNER
    inner = config.inner_width * (GATED_INNER if facts.gated else plain)
    return widths * config.n_embd + copies * attended + inner


def _bytes_each(name: str, settings: TrainingSettings) -> int:
    """Return the bytes of a trained number's gradient and of what the optimizer remembers of it."""
    muon = settings.optimizer == "muon" and layer_of(name) is not None
    return 4 + (MUON_BYTES if muon else ADAMW_BYTES)


def _what_helps(config: ModelConfig, settings: TrainingSettings, available: int) -> str:
    single = replace(settings, micro_batch=1)
    lora = replace(single, lora=LORA_RANK, optimizer="adamw")
    short = replace(lora, context=min(128, settings.context))
    for remedy, changed in (
        ("`micro_batch` 1", single),
        (f"`micro_batch` 1 and `lora` {LORA_RANK}", lora),
        (f"`micro_batch` 1, `lora` {LORA_RANK} and `context` {short.context}", short),
    ):
        if estimate_memory(config, changed) <= available:
            return f"{remedy} would take about {_gigabytes(estimate_memory(config, changed))}."
    return "Choose a smaller model."


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"


def _free_memory() -> Iterator[int]:
    pages = Path("/proc/meminfo")
    if pages.is_file():
        values = dict(line.split(":", 1) for line in pages.read_text().splitlines())
        yield 1024 * int(values["MemAvailable"].split()[0])
    else:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = Path("/sys/fs/cgroup")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdecimal():
        yield max(0, int(limit.read_text()) - int(used.read_text()))
