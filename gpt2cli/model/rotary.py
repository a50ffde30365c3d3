"""Rotary positions: the angles by which queries and keys are rotated.

Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021). The numbers are rounded as
transformers rounds them: after 1,000 positions, the last digit of a frequency changes the fourth of a cosine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Generic, TypeAlias

import numpy as np

from gpt2cli.checkpoint.derived_fields import Rotary
from gpt2cli.ops.operations import A, Ops, Places, StoredTensor

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

# Tables grow by this many positions, so that a long context costs nothing before it is used.
BLOCK = 256


def rotary_frequencies(rotary: Rotary, head_width: int) -> Array:
    """Return the angle from one position to the next for each rotated pair of numbers, (pairs,)."""
    rotated = int(head_width * rotary.fraction)
    exponents = np.arange(0, rotated, 2, dtype=np.float32) / np.float32(rotated)
    # Rounded once, as an accurate power in float32 is; numpy's own is less accurate.
    powers: Array = (np.float64(rotary.base) ** exponents.astype(np.float64)).astype(np.float32)
    frequencies: Array = np.float32(1.0) / powers
    if rotary.scaling == "linear":
        return frequencies / np.float32(rotary.factor)
    return _scaled_as_llama3(frequencies, rotary) if rotary.scaling == "llama3" else frequencies


def _scaled_as_llama3(frequencies: Array, rotary: Rotary) -> Array:
    """Return low frequencies divided, high ones kept, and a smooth change between (LLaMA 3.1, 2024)."""
    factor, low = np.float32(rotary.factor), np.float32(rotary.low_frequency_factor)
    context = np.float32(rotary.original_context)
    span = np.float32(rotary.high_frequency_factor - rotary.low_frequency_factor)
    one = np.float32(1.0)
    # PyTorch divides a number by a tensor so: the number times the tensor's reciprocal.
    wavelengths = one / frequencies * np.float32(2 * math.pi)
    share = (one / wavelengths * context - low) / span
    smooth = (one - share) * frequencies / factor + share * frequencies
    is_low = wavelengths > rotary.original_context / rotary.low_frequency_factor
    is_high = wavelengths < rotary.original_context / rotary.high_frequency_factor
    scaled: Array = np.where(is_low, frequencies / factor, np.where(is_high, frequencies, smooth))
    return scaled


class RotaryTable(Generic[A]):
    """The cosines and sines of the angles at each position, made once for the positions that are used."""

    def __init__(self, ops: Ops[A], frequencies: Array) -> None:
        self._ops = ops
        self._frequencies = frequencies
        self._blocks: list[tuple[Array, Array]] = []
        self._cosines: Any = None
        self._sines: Any = None

    def at(self, places: Places) -> tuple[A, A]:
        """Return the cosines and sines (time, pairs) of the positions at these places.

        The table must reach places that are on a device already.
        """
        if isinstance(places, slice):
            self.reach(places.stop)
        elif isinstance(places, np.ndarray):
            self.reach(int(places.max(initial=-1)) + 1)
        return self._cosines[places], self._sines[places]

    def reach(self, end: int) -> None:
        """Make the table for all positions before `end`."""
        made = len(self._blocks) * BLOCK
        if end > made:
            # One by one, so that no number depends on how many are made at once.
            self._blocks += [self._block(first) for first in range(made, end, BLOCK)]
            cosines, sines = zip(*self._blocks, strict=True)
            self._cosines, self._sines = self._joined(cosines), self._joined(sines)

    def _block(self, first: int) -> tuple[Array, Array]:
        positions = np.arange(first, first + BLOCK, dtype=np.float32)
        angles = (positions[:, np.newaxis] * self._frequencies).astype(np.float64)
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def _joined(self, blocks: Sequence[Array]) -> A:
        return self._ops.weight(StoredTensor("F32", np.concatenate(blocks)))
