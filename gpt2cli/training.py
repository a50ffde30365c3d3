"""Training by next-token prediction: data, optimizers, the loop; yields a record per step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gpt2cli.config import ModelConfig
from gpt2cli.decoder import hidden_states, logits
from gpt2cli.model import Model
from gpt2cli.ops.torch_ops import TorchOps
from gpt2cli.weights import expected_shapes

INITIAL_DEVIATION = 0.02


@dataclass(frozen=True)
class TrainingSettings:
    """Choose how to train; a step sees `batch_size` windows of `context` tokens."""

    steps: int
    batch_size: int = 16
    context: int = 512
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    final_fraction: float = 0.05
    weight_decay: float = 0.1
    dropout: float = 0.0
    clip: float = 1.0
    seed: int = 0
    bfloat16: bool = True


@dataclass(frozen=True)
class StepRecord:
    """Report one optimizer step; the loss is the mean of its tokens, in nats."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float


class Trainer:
    """Hold all that changes while a model trains, so that a run can be saved and continued."""

    def __init__(self, config: ModelConfig, settings: TrainingSettings, device: str = "cpu") -> None:
        self.settings = settings
        ops = TorchOps(device, dropout=settings.dropout)
        self.model = Model(config, initial_weights(config, settings.seed, device), ops)
        self.optimizers = _optimizers(self.model.weights, settings)
        self.step = 0

    def run(self, ids: np.ndarray[Any, np.dtype[Any]]) -> Iterator[StepRecord]:
        """Train on a long row of ids to the last step, and yield a record after each.

        Raises:
            ValueError: there are fewer ids than one window needs.
        """
        while self.step < self.settings.steps:
            yield self.train_step(batch(ids, self.settings, self.step))

    def train_step(self, windows: Tensor) -> StepRecord:
        """Take one optimizer step on windows of shape (batch, context + 1)."""
        rate = learning_rate(self.settings, self.step)
        loss = self.loss(windows)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.weights.values(), self.settings.clip)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return StepRecord(self.step, loss.item(), rate, norm.item())

    def loss(self, windows: Tensor) -> Tensor:
        """Return the mean cross-entropy, in nats a token, of windows (batch, time + 1)."""
        windows = windows.to(self.model.ops.token_ids([[0]]).device)
        with torch.autocast(windows.device.type, torch.bfloat16, enabled=self.settings.bfloat16):
            scores = logits(self.model, hidden_states(self.model, windows[:, :-1]))
        return F.cross_entropy(scores.flatten(0, 1).float(), windows[:, 1:].flatten())

    def state(self) -> dict[str, Any]:
        """Return all that a later `restore` needs to go on exactly."""
        return {
            "step": self.step,
            "weights": dict(self.model.weights),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.step = state["step"]
        with torch.no_grad():
            for name, weight in self.model.weights.items():
                weight.copy_(state["weights"][name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def initial_weights(config: ModelConfig, seed: int, device: str) -> dict[str, Tensor]:
    """Return random weights, with residual projections scaled by depth as in the GPT-2 paper."""
    generator = torch.Generator().manual_seed(seed)
    residual_deviation = INITIAL_DEVIATION / math.sqrt(2 * config.n_layer)
    weights = {}
    for name, shape in expected_shapes(config).items():
        if len(shape) == 1:
            weight = torch.full(shape, 0.0 if name.endswith("bias") else 1.0)
        else:
            deviation = residual_deviation if "c_proj" in name else INITIAL_DEVIATION
            weight = torch.empty(shape).normal_(0.0, deviation, generator=generator)
        weights[name] = weight.to(device).requires_grad_()
    return weights


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """Return the rate of a step: a linear warm-up, then a cosine down to the final fraction."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    span = max(1, settings.steps - settings.warmup_steps)
    progress = min(1.0, (step - settings.warmup_steps) / span)
    cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
    return settings.learning_rate * (settings.final_fraction + (1 - settings.final_fraction) * cosine)


def batch(ids: np.ndarray[Any, np.dtype[Any]], settings: TrainingSettings, step: int) -> Tensor:
    """Return the windows (batch, context + 1) of a step, a pure function of seed and step.

    Raises:
        ValueError: there are fewer ids than one window needs.
    """
    length = settings.context + 1
    if len(ids) < length:
        raise ValueError(f"{len(ids)} tokens are fewer than the {length} that a window needs")
    generator = np.random.Generator(np.random.Philox(key=[settings.seed, step]))
    starts = generator.integers(0, len(ids) - length + 1, settings.batch_size)
    windows = np.stack([ids[start : start + length] for start in starts])
    return torch.from_numpy(windows.astype(np.int64))


def _optimizers(weights: Mapping[str, Tensor], settings: TrainingSettings) -> list[torch.optim.Optimizer]:
    # Muon (Jordan et al., 2024) for the blocks' matrices, AdamW for embeddings, norms and biases.
    matrices = [w for name, w in weights.items() if w.ndim == 2 and name.startswith("h.")]
    tables = [w for name, w in weights.items() if w.ndim == 2 and not name.startswith("h.")]
    vectors = [w for w in weights.values() if w.ndim == 1]
    muon = torch.optim.Muon(
        matrices, lr=1.0, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(
        [{"params": tables, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
        fused=True,
    )
    return [muon, adamw]


def save_state(trainer: Trainer, path: Path) -> None:
    """Write the state aside and move it into place, so that a cut never leaves half a file."""
    aside = path.with_suffix(".tmp")
    torch.save(trainer.state(), aside)
    aside.replace(path)
