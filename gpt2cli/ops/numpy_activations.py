"""The weightless activations that transformers accepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def _gelu(x: Array) -> Array:
    """Hendrycks & Gimpel, "Gaussian Error Linear Units" (2016)."""
    return x * (0.5 * (1.0 + _erf(x * np.float32(0.5**0.5))))


def _gelu_tanh(x: Array) -> Array:
    # In place on one temporary, because these are the widest activations of every token.
    inner = np.square(x)
    inner *= np.float32(0.044715)
    inner += 1.0
    inner *= x
    inner *= np.float32((2.0 / np.pi) ** 0.5)
    np.tanh(inner, out=inner)
    inner += 1.0
    inner *= x
    inner *= 0.5
    return inner


def _erf(x: Array) -> Array:
    """Abramowitz & Stegun, "Handbook of Mathematical Functions", 7.1.26: error below 1.5e-7."""
    magnitude = np.abs(x)
    t = 1.0 / (1.0 + np.float32(0.3275911) * magnitude)
    polynomial = np.zeros_like(x)
    for coefficient in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        polynomial = (polynomial + np.float32(coefficient)) * t
    return np.copysign(1.0 - polynomial * np.exp(-np.square(magnitude)), x)


def _sigmoid(x: Array) -> Array:
    # Unlike exp, tanh does not overflow.
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _silu(x: Array) -> Array:
    return x * _sigmoid(x)


def _laplace(x: Array) -> Array:
    """Ma et al., "Mega: Moving Average Equipped Gated Attention" (2022), with its constants."""
    return 0.5 * (1.0 + _erf((x - np.float32(0.707107)) / np.float32(0.282095 * 2**0.5)))


def _relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": _gelu,
    "gelu_python": _gelu,
    "gelu_10": lambda x: np.clip(_gelu(x), -10.0, 10.0),
    "gelu_accurate": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "gelu_python_tanh": _gelu_tanh,
    "hardswish": lambda x: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0,
    "laplace": _laplace,
    "leaky_relu": lambda x: np.where(x >= 0.0, x, np.float32(0.01) * x),
    "linear": lambda x: x,
    "mish": lambda x: x * np.tanh(np.logaddexp(x, np.float32(0.0))),
    "quick_gelu": lambda x: x * _sigmoid(np.float32(1.702) * x),
    "relu": _relu,
    "relu2": lambda x: np.square(_relu(x)),
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "sigmoid": _sigmoid,
    "silu": _silu,
    "sqrtsoftplus": lambda x: np.sqrt(np.logaddexp(x, np.float32(0.0))),
    "swish": _silu,
    "tanh": np.tanh,
}
