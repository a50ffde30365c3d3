"""The optimizers, Muon and AdamW, and the learning rate schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gpt2cli.checkpoint.roles import is_layer_matrix
from gpt2cli.training.plan.settings import TrainingSettings

BETAS = (0.9, 0.95)


class Optimizers:
    """The optimizers of named weights; matrices decay, vectors do not.

    Muon (Jordan et al., 2024) updates the matrices of the blocks if the settings ask for it, AdamW
    (Loshchilov and Hutter, 2019) all others.
    """

    def __init__(self, weights: Mapping[str, Tensor], settings: TrainingSettings) -> None:
        matrices = [name for name, weight in weights.items() if is_layer_matrix(name, weight.shape)]
        muon = matrices if settings.optimizer == "muon" else []
        others = [name for name in weights if name not in muon]
        decayed = [name for name in others if weights[name].ndim == 2]
        undecayed = [name for name in others if weights[name].ndim < 2]
        self._names = {"muon": muon, "adamw": [*decayed, *undecayed]}
        self._optimizers: dict[str, torch.optim.Optimizer] = {}
        if muon:
            self._optimizers["muon"] = torch.optim.Muon(
                [weights[name] for name in muon],
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        if others:
            groups = [(decayed, settings.weight_decay), (undecayed, 0.0)]
            self._optimizers["adamw"] = torch.optim.AdamW(
                [
                    {"params": [weights[name] for name in names], "weight_decay": decay}
                    for names, decay in groups
                    if names
                ],
                lr=settings.learning_rate,
                betas=BETAS,
                fused=True,
            )

    def step(self, rate: float) -> None:
        """Update all weights, and clear their gradients."""
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Return the state of the optimizers, named by optimizer, quantity and weight."""
        remembered = {}
        for kind, optimizer in self._optimizers.items():
            for index, entry in optimizer.state_dict()["state"].items():
                for quantity, value in entry.items():
                    remembered[f"{kind}/{quantity}/{self._names[kind][index]}"] = value
        return remembered

    def restore(self, remembered: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        for kind, optimizer in self._optimizers.items():
            state = optimizer.state_dict()
            state["state"] = dict(enumerate(_entries(kind, self._names[kind], remembered)))
            # Before its first step, an optimizer has no state.
            if all(state["state"].values()):
                optimizer.load_state_dict(state)


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """Return the rate of a step: a linear warm-up, then a cosine down to the final fraction."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    span = max(1, settings.steps - settings.warmup_steps)
    progress = min(1.0, (step - settings.warmup_steps) / span)
    cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
    return settings.learning_rate * (settings.final_fraction + (1 - settings.final_fraction) * cosine)


def _entries(kind: str, names: Sequence[str], remembered: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, value in remembered.items():
        owner, quantity, name = key.split("/")
        if owner == kind:
            entries[name][quantity] = value
    return [entries[name] for name in names]
