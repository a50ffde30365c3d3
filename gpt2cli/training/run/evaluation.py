"""Evaluation during training: the loss on the held-out text, and a sample."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gpt2cli.generation.engine import continue_ids
from gpt2cli.generation.requests import GenerationSettings, Request
from gpt2cli.generation.sampling import Sampler
from gpt2cli.generation.settings import SamplingSettings
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.model import Model
from gpt2cli.training.data.documents import Ids
from gpt2cli.training.step.data_parallel import Ranks

PROMPT_TOKENS = 16
SAMPLE_TOKENS = 64


@dataclass(frozen=True)
class EvaluationRecord:
    """An evaluation after a step; the loss is the mean over the held-out tokens, in nats.

    `sample` is the start of the held-out text and the model's continuation of it.
    """

    step: int
    valid_loss: float
    perplexity: float
    bits_per_byte: float
    is_best: bool
    sample: str = ""


def mean_loss(model: Model[Tensor], ids: Ids, context: int, windows: int, ranks: Ranks) -> float:
    """Return the mean cross-entropy of all ids but the first, in nats, `windows` windows at a time.

    Every process takes its share of the windows.

    Raises:
        Error: another process ended.
    """
    total = torch.zeros(1, device=model.ops.token_ids([[0]]).device)
    parts = _parts(ids, context, windows)
    with torch.no_grad():
        for part in parts[ranks.rank :: ranks.count]:
            rows = torch.from_numpy(part.astype(np.int64)).to(total.device)
            scores = logits(model, hidden_states(model, rows[:, :-1]))
            total += F.cross_entropy(scores.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum")
    ranks.sum([total])
    return total.item() / (ids.size - 1)


def bits_per_byte(loss: float, tokens: int, text_bytes: int) -> float:
    """Return the bits per byte of a text from the mean loss of its tokens in nats."""
    return loss * tokens / math.log(2) / max(1, text_bytes)


def write_sample(model: Model[Tensor], ids: Ids, end_ids: Collection[int], seed: int) -> list[int]:
    """Return the first ids of a text and the model's continuation of them."""
    prompt = [int(token) for token in ids[: min(PROMPT_TOKENS, model.config.n_positions)]]
    sampler = Sampler(SamplingSettings(), seed)
    settings = GenerationSettings(SAMPLE_TOKENS, end_ids)
    with torch.no_grad():
        return prompt + [token.id for token in continue_ids(model, Request(prompt, sampler, settings))]


def _parts(ids: Ids, context: int, windows: int) -> list[Ids]:
    """Cut ids into batches of windows that overlap by one id, so that each is predicted once."""
    whole = (ids.size - 1) // context
    rows = np.lib.stride_tricks.sliding_window_view(ids, context + 1)[::context] if whole else ids[:0]
    parts = [rows[start : start + windows] for start in range(0, whole, windows)]
    rest = ids[whole * context :]
    return [*parts, rest[None]] if rest.size > 1 else parts
