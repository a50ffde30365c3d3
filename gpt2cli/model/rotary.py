"""Rotary positions: the angles by which queries and keys are rotated.

Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021). The numbers are rounded as
transformers rounds them: after 1,000 positions, the last digit of a frequency changes the fourth of a cosine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias

import numpy as np

from gpt2cli.checkpoint.derived_fields import Rotary
from gpt2cli.ops.operations import A, Ops, StoredTensor

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

# Tables grow by this many positions, so that a long context costs nothing before it is used.
BLOCK = 256


@dataclass(frozen=True)
class LinearScaling:
    """Positions that lie closer by a factor (Chen et al., "Position Interpolation", 2023)."""

    factor: float


@dataclass(frozen=True)
class Llama3Scaling:
    """Low frequencies divided by a factor, high ones kept, and a smooth change between (LLaMA 3.1, 2024).

    Low are those that turn less than `low` times in a context of `original_context`, high those that turn
    more than `high` times.
    """

    factor: float
    low: float
    high: float
    original_context: int


def rotary_frequencies(
    rotated: int, base: float, scaling: LinearScaling | Llama3Scaling | None = None
) -> Array:
    """Return the angle from one position to the next for each pair of `rotated` numbers, (rotated / 2,)."""
    exponents = np.arange(0, rotated, 2, dtype=np.float32) / np.float32(rotated)
    # Rounded once, as an accurate power in float32 is; numpy's own is less accurate.
    powers: Array = (np.float64(base) ** exponents.astype(np.float64)).astype(np.float32)
    frequencies: Array = np.float32(1.0) / powers
    if isinstance(scaling, LinearScaling):
        return frequencies / np.float32(scaling.factor)
    return frequencies if scaling is None else _scaled_as_llama3(frequencies, scaling)


def _scaled_as_llama3(frequencies: Array, scaling: Llama3Scaling) -> Array:
    factor, low = np.float32(scaling.factor), np.float32(scaling.low)
    context, span = np.float32(scaling.original_context), np.float32(scaling.high - scaling.low)
    one = np.float32(1.0)
    # PyTorch divides a number by a tensor so: the number times the tensor's reciprocal.
    wavelengths = one / frequencies * np.float32(2 * math.pi)
    share = (one / wavelengths * context - low) / span
    smooth = (one - share) * frequencies / factor + share * frequencies
    is_low = wavelengths > scaling.original_context / scaling.low
    is_high = wavelengths < scaling.original_context / scaling.high
    scaled: Array = np.where(is_low, frequencies / factor, np.where(is_high, frequencies, smooth))
    return scaled


def open_rotary_table(rotary: Rotary, head_width: int, ops: Ops[A]) -> RotaryTable[A]:
    """Return the table for heads that are rotated as a config says."""
    scaling: LinearScaling | Llama3Scaling | None = None
    if rotary.scaling == "linear":
        scaling = LinearScaling(rotary.factor)
    elif rotary.scaling == "llama3":
        scaling = Llama3Scaling(
            rotary.factor,
            rotary.low_frequency_factor,
            rotary.high_frequency_factor,
            rotary.original_context,
        )
    rotated = int(head_width * rotary.fraction)
    return RotaryTable(ops, rotary_frequencies(rotated, rotary.base, scaling))


class RotaryTable(Generic[A]):
    """The cosines and sines of the angles at each position, made once for the positions that are used."""

    def __init__(self, ops: Ops[A], frequencies: Array) -> None:
        self._ops = ops
        self._frequencies = frequencies
        self._blocks: list[tuple[Array, Array]] = []
        self._cosines: Any = None
        self._sines: Any = None

    def between(self, start: int, end: int) -> tuple[A, A]:
        """Return the cosines and sines (end - start, pairs) of the positions from `start` to `end`."""
        made = len(self._blocks) * BLOCK
        if end > made:
            # One by one, so that no number depends on how many are made at once.
            self._blocks += [self._block(first) for first in range(made, end, BLOCK)]
            cosines, sines = zip(*self._blocks, strict=True)
            self._cosines, self._sines = self._joined(cosines), self._joined(sines)
        return self._cosines[start:end], self._sines[start:end]

    def _block(self, first: int) -> tuple[Array, Array]:
        positions = np.arange(first, first + BLOCK, dtype=np.float32)
        angles = (positions[:, np.newaxis] * self._frequencies).astype(np.float64)
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def _joined(self, blocks: Sequence[Array]) -> A:
        return self._ops.weight(StoredTensor("F32", np.concatenate(blocks)))
