"""The optimizers take the steps of PyTorch's classes, without PyTorch's compiler."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from gpt2cli.training.plan.settings import TrainingSettings
from gpt2cli.training.step.optimizers import BETAS, Optimizers

WEIGHTS = {
    "layers.0.attn.c_attn.weight": (8, 24),
    "layers.0.mlp.c_proj.weight": (32, 8),
    "layers.0.ln_1.weight": (8,),
    "token_embedding.weight": (30, 8),
}
RATES = (0.02, 0.01, 0.03)


def weights() -> dict[str, Tensor]:
    """Return weights with fixed values."""
    numbers = torch.Generator().manual_seed(3)
    return {name: torch.randn(shape, generator=numbers).requires_grad_() for name, shape in WEIGHTS.items()}


def give_gradients(trained: Mapping[str, Tensor], seed: int) -> None:
    """Give each weight a gradient, but the last one none in the first step."""
    numbers = torch.Generator().manual_seed(seed)
    for place, weight in enumerate(trained.values()):
        gradient = torch.randn(weight.shape, generator=numbers)
        weight.grad = None if seed == 0 and place == len(trained) - 1 else gradient


def classes(trained: Mapping[str, Tensor], settings: TrainingSettings) -> list[torch.optim.Optimizer]:
    """Return the optimizers of PyTorch for the same settings."""
    blocks = [weight for name, weight in trained.items() if weight.ndim == 2 and name.startswith("layers.")]
    muon = blocks if settings.optimizer == "muon" else []
    others = [weight for weight in trained.values() if all(weight is not it for it in muon)]
    groups = [
        {"params": [it for it in others if it.ndim == 2], "weight_decay": settings.weight_decay},
        {"params": [it for it in others if it.ndim < 2], "weight_decay": 0.0},
    ]
    found: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, betas=BETAS, fused=True)]
    if muon:
        decay = settings.weight_decay
        found.append(torch.optim.Muon(muon, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return found


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_steps_are_those_of_the_classes_bit_for_bit(kind: str) -> None:
    settings = TrainingSettings(3, optimizer=kind)  # type: ignore[arg-type]
    ours, theirs = weights(), weights()
    optimizers, oracles = Optimizers(ours, settings), classes(theirs, settings)
    for seed, rate in enumerate(RATES):
        give_gradients(ours, seed)
        give_gradients(theirs, seed)
        optimizers.step(rate)
        for oracle in oracles:
            for group in oracle.param_groups:
                group["lr"] = rate
            oracle.step()
        assert all(torch.equal(ours[name], theirs[name]) for name in WEIGHTS)
        assert all(weight.grad is None for weight in ours.values())


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_a_restored_state_goes_on_alike(kind: str) -> None:
    settings = TrainingSettings(3, optimizer=kind)  # type: ignore[arg-type]
    first, second = weights(), weights()
    before = Optimizers(first, settings)
    give_gradients(first, 1)
    before.step(0.01)
    with torch.no_grad():
        for name, weight in second.items():
            weight.copy_(first[name])
    after = Optimizers(second, settings)
    after.restore({name: value.clone() for name, value in before.state().items()})
    for optimizers, trained in ((before, first), (after, second)):
        give_gradients(trained, 2)
        optimizers.step(0.02)
    assert all(torch.equal(first[name], second[name]) for name in WEIGHTS)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("adamw/exp_avg/token_embedding.weight"),
        lambda state: state.update({"adamw/exp_avg/token_embedding.weight": torch.zeros(2)}),
        lambda state: state.update({"muon/momentum_buffer/token_embedding.weight": torch.zeros(30, 8)}),
        lambda state: state.update({"adamw/exp_avg/lm_head.weight": torch.zeros(30, 8)}),
    ],
)
def test_a_state_of_other_weights_is_refused(change: object) -> None:
    trained = weights()
    optimizers = Optimizers(trained, TrainingSettings(3))
    give_gradients(trained, 1)
    optimizers.step(0.01)
    state = optimizers.state()
    change(state)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"fit|there is no"):
        optimizers.restore(state)


@pytest.mark.slow
def test_a_step_loads_no_compiler() -> None:
    script = """
import sys, torch
from gpt2cli.training.plan.settings import TrainingSettings
from gpt2cli.training.step.optimizers import Optimizers
weights = {"layers.0.attn.c_attn.weight": torch.ones(2, 6, requires_grad=True)}
for kind in ("muon", "adamw"):
    optimizers = Optimizers(weights, TrainingSettings(3, optimizer=kind))
    weights["layers.0.attn.c_attn.weight"].sum().backward()
    optimizers.step(0.1)
print("torch._dynamo" in sys.modules, len(optimizers.state()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "3"]
