"""Muon, an optimizer of matrices.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024). Rates are scaled as by Liu et
al., "Muon is Scalable for LLM Training" (2025), so that they suit AdamW too. The same steps as those of
`torch.optim.Muon`, which imports PyTorch's compiler; that takes as long as importing PyTorch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOMENTUM = 0.95
# A polynomial that takes singular values from 0 to 1 to around 1, the steeper at 0 the fewer iterations.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SMALLEST_NORM = 1e-7
# AdamW's steps have about this root mean square.
STEP_SIZE = 0.2


def update_matrix(matrix: Tensor, gradient: Tensor, momentum: Tensor, rate: float, decay: float) -> None:
    """Update a matrix and its momentum, both (rows, columns), in place, from its gradient of that shape."""
    momentum.lerp_(gradient, 1.0 - MOMENTUM)
    update = orthogonalized(gradient.lerp(momentum, MOMENTUM))
    matrix.mul_(1.0 - rate * decay)
    matrix.add_(update, alpha=-rate * (STEP_SIZE * math.sqrt(max(matrix.shape))))


def orthogonalized(matrix: Tensor) -> Tensor:
    """Return about the nearest semi-orthogonal matrix, by Newton-Schulz iterations in bfloat16.

    Both are (rows, columns).
    """
    a, b, c = COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.bfloat16()
    x = x.T if is_tall else x
    x.div_(x.norm().clamp(min=SMALLEST_NORM))
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x
