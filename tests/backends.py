"""The backends that every numerical test runs on."""

from __future__ import annotations

import pytest
import torch

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA GPU")
# Backend and device, as `load_checkpoint` and `open_backend` take them.
BACKENDS = [
    pytest.param(("numpy", "cpu"), id="numpy"),
    pytest.param(("torch", "cpu"), id="torch"),
    pytest.param(("torch", "cuda"), id="cuda", marks=(pytest.mark.cuda, needs_cuda)),
]
