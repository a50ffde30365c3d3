"""The optimizers, Muon and AdamW, and the learning rate schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from gpt2cli.checkpoint.roles import is_layer_matrix
from gpt2cli.training.plan.settings import TrainingSettings
from gpt2cli.training.step.muon import update_matrix

BETAS = (0.9, 0.95)
EPSILON = 1e-8
# What is remembered of a weight; the count of its steps is one number.
STEP, MOMENTUM = "step", "momentum_buffer"
QUANTITIES = {"muon": (MOMENTUM,), "adamw": (STEP, "exp_avg", "exp_avg_sq")}


class Optimizers:
    """The optimizers of named weights; matrices decay, vectors do not.

    Muon updates the matrices of the blocks if the settings ask for it, AdamW (Loshchilov and Hutter, 2019)
    all others. The classes of `torch.optim` would import PyTorch's compiler, which takes as long as PyTorch.
    """

    def __init__(self, weights: Mapping[str, Tensor], settings: TrainingSettings) -> None:
        muon = settings.optimizer == "muon"
        self._weights = weights
        self._decay = settings.weight_decay
        self._muon = [name for name, it in weights.items() if muon and is_layer_matrix(name, it.shape)]
        others = [name for name in weights if name not in self._muon]
        self._adamw = [
            ([name for name in others if weights[name].ndim == 2], settings.weight_decay),
            ([name for name in others if weights[name].ndim < 2], 0.0),
        ]
        # What is remembered of each weight, from its first step on.
        self._memory: dict[str, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update all weights that have gradients, and clear these."""
        for name in self._with_gradients(self._muon):
            weight, gradient = self._weights[name], self._gradient(name)
            update_matrix(weight, gradient, self._remembered(name)[MOMENTUM], rate, self._decay)
        for names, decay in self._adamw:
            self._update_by_adamw(self._with_gradients(names), rate, decay)
        for weight in self._weights.values():
            weight.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return the state of the optimizers, named by optimizer, quantity and weight."""
        return {
            f"{self._kind(name)}/{quantity}/{name}": value
            for name, entry in self._memory.items()
            for quantity, value in entry.items()
        }

    def restore(self, remembered: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned, on the device of the weights.

        Raises:
            ValueError: it is of other weights or other optimizers.
        """
        memory: dict[str, dict[str, Tensor]] = {}
        for key, value in remembered.items():
            kind, quantity, name = key.split("/")
            if name not in self._weights or kind != self._kind(name):
                raise ValueError(f"there is no {key}")
            memory.setdefault(name, {})[quantity] = value
        for name, entry in memory.items():
            if {quantity: value.shape for quantity, value in entry.items()} != self._shapes(name):
                raise ValueError(f"what is remembered of {name} does not fit")
        self._memory = memory

    def _kind(self, name: str) -> str:
        return "muon" if name in self._muon else "adamw"

    def _with_gradients(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if self._weights[name].grad is not None]

    def _gradient(self, name: str) -> Tensor:
        gradient = self._weights[name].grad
        assert gradient is not None
        return gradient

    def _remembered(self, name: str) -> dict[str, Tensor]:
        if name not in self._memory:
            device = self._weights[name].device
            shapes = self._shapes(name).items()
            self._memory[name] = {quantity: torch.zeros(shape, device=device) for quantity, shape in shapes}
        return self._memory[name]

    def _shapes(self, name: str) -> dict[str, torch.Size]:
        """Return the shape of each quantity that is remembered of a weight."""
        shape = self._weights[name].shape
        quantities = QUANTITIES[self._kind(name)]
        return {quantity: torch.Size() if quantity == STEP else shape for quantity in quantities}

    def _update_by_adamw(self, names: Sequence[str], rate: float, decay: float) -> None:
        entries = [self._remembered(name) for name in names]
        steps, means, squares = ([entry[quantity] for entry in entries] for quantity in QUANTITIES["adamw"])
        adamw(
            [self._weights[name] for name in names],
            [self._gradient(name) for name in names],
            means,
            squares,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=rate,
            weight_decay=decay,
            eps=EPSILON,
            maximize=False,
        )


def planned_fall(settings: TrainingSettings, step: int) -> float:
    """Return how far the rate has fallen by a step of a run that takes all its steps, from 0 to 1."""
    span = max(1, settings.steps - settings.warmup_steps)
    return min(1.0, max(0, step - settings.warmup_steps) / span)


def learning_rate(settings: TrainingSettings, step: int, fall: float | None = None) -> float:
    """Return the rate of a step: a linear warm-up, then a cosine down to the final fraction.

    `fall` is how far along the cosine the step is, from 0 to 1; None for where it is planned.
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    cosine = 0.5 * (1.0 + math.cos(math.pi * (planned_fall(settings, step) if fall is None else fall)))
    return settings.learning_rate * (settings.final_fraction + (1 - settings.final_fraction) * cosine)
