"""Random tensors as the arrays of a backend, and comparisons with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpt2cli.ops.operations import Ops, StoredTensor


def random(*shape: int, seed: int = 0) -> Tensor:
    """Return normally distributed numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def own(ops: Ops[Any], tensor: Tensor) -> Any:
    """Return a tensor as an array of the backend that no other shares."""
    return ops.weight(StoredTensor("F32", tensor.numpy().copy()))


def check(ops: Ops[Any], actual: Any, expected: Tensor, tolerance: float = 1e-5, case: object = "") -> None:
    """Compare an array of a backend with a tensor; a difference names the case."""
    np.testing.assert_allclose(
        ops.to_numpy(actual), expected.numpy(), rtol=tolerance, atol=tolerance, err_msg=str(case)
    )
