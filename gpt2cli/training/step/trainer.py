"""One optimizer step of next-token prediction, in one process or several."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.roles import RESIDUAL_ROLES, role_of
from gpt2cli.checkpoint.weights import expected_shapes
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.model import Model
from gpt2cli.ops.torch_ops import TorchOps
from gpt2cli.training.data.documents import Ids
from gpt2cli.training.plan.settings import Precision, TrainingSettings
from gpt2cli.training.step.data_parallel import Ranks
from gpt2cli.training.step.lora import AdaptedOps, adapt, initial_adapters, merge
from gpt2cli.training.step.optimizers import Optimizers, learning_rate

INITIAL_DEVIATION = 0.02


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step and the seconds it took; the loss is the mean over its tokens, in nats."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float = field(default=0.0, compare=False)


class Trainer:
    """A model in training, with its optimizers.

    The random numbers of a pass are a function of seed, step and pass, so neither the number of processes nor
    a stop in between changes them.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, Tensor],
        settings: TrainingSettings,
        ranks: Ranks | None = None,
        compiled: bool = False,
    ) -> None:
        self.config = config
        self.settings = settings
        self.ranks = ranks or Ranks()
        self.device = next(iter(weights.values())).device
        self.step = 0
        self.frozen, self.trainable = _split(weights, settings)
        for weight in self.trainable.values():
            weight.requires_grad_()
        self.optimizers = Optimizers(self.trainable, settings)
        self._model = self._training_model()
        self._loss = torch.compile(self._pass_loss) if compiled else self._pass_loss

    def train_step(self, ids: Ids, stop: bool = False, fall: float | None = None) -> tuple[StepRecord, bool]:
        """Take one optimizer step on windows of the ids; return also whether any process wants to stop.

        `fall` is how far the learning rate has fallen, from 0 to 1; None for as far as planned.

        Raises:
            ValueError: there are fewer ids than one window needs.
            Error: another process ended.
        """
        start = time.perf_counter()
        windows = batch(ids, self.settings, self.step).to(self.device)
        loss = self._backward(windows)
        wish = torch.tensor(float(stop), device=self.device)
        self.ranks.sum([*self._gradients(), loss, wish])
        norm = torch.nn.utils.clip_grad_norm_(self.trainable.values(), self.settings.clip)
        rate = learning_rate(self.settings, self.step, fall)
        self.optimizers.step(rate)
        self.step += 1
        # Reading a number synchronizes with the device.
        mean, stopping = loss.item(), bool(wish.item())
        seconds = time.perf_counter() - start
        return StepRecord(self.step, mean, rate, norm.item(), seconds), stopping

    def scores(self, ids: Tensor) -> Tensor:
        """Return the logits (batch, time, vocabulary) with the dropout and the precision of training."""
        reduced = self.settings.precision == "bfloat16"
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=reduced):
            scores: Tensor = logits(self._model, hidden_states(self._model, ids))
        return scores

    def merged_weights(self) -> dict[str, Tensor]:
        """Return the weights with adapters merged, without gradients."""
        with torch.no_grad():
            if self.settings.lora:
                return merge(self.frozen, self.trainable)
            return {name: weight.detach() for name, weight in {**self.frozen, **self.trainable}.items()}

    def plain_model(self) -> Model[Tensor]:
        """Return the current model for evaluation: without dropout, in float32."""
        return Model(self.config, self.merged_weights(), TorchOps(str(self.device)))

    def _backward(self, windows: Tensor) -> Tensor:
        """Accumulate the gradients of this process's share of a step; return its share of the mean loss."""
        tokens = windows[:, 1:].numel()
        total = torch.zeros((), device=self.device)
        for number, part in enumerate(torch.split(windows, self.settings.micro_batch)):
            if number % self.ranks.count != self.ranks.rank:
                continue
            if self.settings.dropout:
                torch.manual_seed(_pass_seed(self.settings.seed, self.step, number))
            loss = self._loss(part) / tokens
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _pass_loss(self, windows: Tensor) -> Tensor:
        """Return the sum of the cross-entropies, in nats, of windows (batch, time + 1)."""
        scores = self.scores(windows[:, :-1])
        return F.cross_entropy(scores.flatten(0, 1).float(), windows[:, 1:].flatten(), reduction="sum")

    def _gradients(self) -> Sequence[Tensor]:
        for weight in self.trainable.values():
            if weight.grad is None:
                # With more processes than passes, some have no work.
                weight.grad = torch.zeros_like(weight)
        return [weight.grad for weight in self.trainable.values() if weight.grad is not None]

    def _training_model(self) -> Model[Any]:
        settings = self.settings
        if settings.lora:
            ops: TorchOps = AdaptedOps(str(self.device), dropout=settings.dropout)
            return Model(self.config, adapt(self.frozen, self.trainable), ops)
        weights = {**self.frozen, **self.trainable}
        return Model(self.config, weights, TorchOps(str(self.device), dropout=settings.dropout))


def available_gpu_memory(device: str) -> int:
    """Return the free memory of a GPU in bytes."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free)


def suitable_precision(device: str) -> Precision:
    """Return bfloat16 where the device multiplies it faster than float32."""
    if device.startswith("cuda"):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        processor = Path("/proc/cpuinfo")
        flags = processor.read_text() if device == "cpu" and processor.is_file() else ""
        fast = "avx512_bf16" in flags or "amx_bf16" in flags
    return "bfloat16" if fast else "float32"


def initial_weights(config: ModelConfig, seed: int) -> dict[str, Tensor]:
    """Return random weights, with residual projections scaled by depth as in the GPT-2 paper."""
    generator = torch.Generator().manual_seed(seed)
    residual_deviation = INITIAL_DEVIATION / math.sqrt(2 * config.n_layer)
    weights = {}
    for name, shape in expected_shapes(config).items():
        if len(shape) == 1:
            weights[name] = torch.full(shape, 0.0 if name.endswith("bias") else 1.0)
        else:
            deviation = residual_deviation if role_of(name) in RESIDUAL_ROLES else INITIAL_DEVIATION
            weights[name] = torch.empty(shape).normal_(0.0, deviation, generator=generator)
    return weights


def batch(ids: Ids, settings: TrainingSettings, step: int) -> Tensor:
    """Return the windows (batch, context + 1) of a step, a pure function of seed and step.

    Raises:
        ValueError: there are fewer ids than one window needs.
    """
    length = settings.context + 1
    if len(ids) < length:
        raise ValueError(f"{len(ids)} tokens are fewer than the {length} that a window needs")
    generator = np.random.Generator(np.random.Philox(key=settings.seed | step << 64))
    starts = generator.integers(0, len(ids) - length + 1, settings.batch_size)
    windows = np.stack([ids[start : start + length] for start in starts])
    return torch.from_numpy(windows.astype(np.int64))


def _split(
    weights: Mapping[str, Tensor], settings: TrainingSettings
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    frozen = {name: weight for name, weight in weights.items() if settings.freezes(name)}
    if settings.lora:
        return frozen, initial_adapters(frozen, settings.lora, settings.seed)
    # Optimizers walk weights and what they remember in the order of memory, and saved states are contiguous.
    return frozen, {name: weight.contiguous() for name, weight in weights.items() if name not in frozen}


def _pass_seed(seed: int, step: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, step, number]).generate_state(1, np.uint64)[0])
