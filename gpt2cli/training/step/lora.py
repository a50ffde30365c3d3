"""Low-rank adapters beside frozen matrices (Hu et al., "LoRA: Low-Rank Adaptation", 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpt2cli.checkpoint.roles import is_layer_matrix
from gpt2cli.ops.torch_ops import TorchOps

# The paper's alpha / rank; constant, so that one learning rate suits every rank.
SCALE = 2.0
DOWN, UP = ".lora_down", ".lora_up"


@dataclass(frozen=True)
class AdaptedMatrix:
    """The matrix + SCALE * down @ up, of shapes (in, out), (in, rank) and (rank, out)."""

    matrix: Tensor
    down: Tensor
    up: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.matrix.shape)


class AdaptedOps(TorchOps):
    """Operations that multiply by adapted matrices without forming them."""

    def product(self, x: Tensor, weight: Any, bias: Tensor | None) -> Tensor:
        if not isinstance(weight, AdaptedMatrix):
            return super().product(x, weight, bias)
        return super().product(x, weight.matrix, bias) + SCALE * ((x @ weight.down) @ weight.up)


def initial_adapters(weights: Mapping[str, Tensor], rank: int, seed: int) -> dict[str, Tensor]:
    """Return adapters of all block matrices; untrained, they change nothing."""
    generator = torch.Generator().manual_seed(seed)
    adapters = {}
    for name, weight in weights.items():
        if is_layer_matrix(name, weight.shape):
            rows, columns = weight.shape
            down = torch.empty(rows, rank).normal_(0.0, 1.0 / math.sqrt(rows), generator=generator)
            adapters[name + DOWN] = down.to(weight.device)
            adapters[name + UP] = torch.zeros(rank, columns, device=weight.device)
    return adapters


def adapt(weights: Mapping[str, Tensor], adapters: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the weights with adapted matrices in place of those that have adapters."""
    return {
        name: AdaptedMatrix(weight, adapters[name + DOWN], adapters[name + UP])
        if name + DOWN in adapters
        else weight
        for name, weight in weights.items()
    }


def merge(weights: Mapping[str, Tensor], adapters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ordinary weights that compute what the adapted ones do."""
    return {
        name: weight + SCALE * (adapters[name + DOWN] @ adapters[name + UP])
        if name + DOWN in adapters
        else weight
        for name, weight in weights.items()
    }
