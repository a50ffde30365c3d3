"""The backends that every numerical test runs on."""

from __future__ import annotations

import pytest
import torch

from gpt2cli.ops.backend import kernels_are_built

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA GPU")
needs_kernels = pytest.mark.skipif(not kernels_are_built(), reason="the compiled kernels are not built")
# What computes on a CPU where nothing else is asked for.
CPU_DEFAULT = "compiled" if kernels_are_built() else "numpy"
# Backend and device, as `load_checkpoint` and `open_backend` take them.
BACKENDS = [
    pytest.param(("compiled", "cpu"), id="compiled", marks=needs_kernels),
    pytest.param(("numpy", "cpu"), id="numpy"),
    pytest.param(("torch", "cpu"), id="torch"),
    pytest.param(("torch", "cuda"), id="cuda", marks=(pytest.mark.cuda, needs_cuda)),
]
