"""Which tokens' logits can be among the highest, told from logits that a head in 8 bits gives within bounds.

Chen et al., "Learning to Screen for Fast Softmax Inference on Large Vocabulary Neural Networks" (2019),
leave most tokens out likewise, by a guess; the bounds here are certain, and the highest logits exact.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# The steps to which the kernels round, at least: weights from 0 to their largest, activations likewise.
WEIGHT_STEPS, ACTIVATION_STEPS = 127, 16_000
# Where the largest is less than these, all may be rounded to zero.
TINY_SCALE, TINY_ACTIVATION = np.float32(2.0**-119), 1e-34
# For the rounding of the bounds themselves, which is far less.
SLACK = 1.01
# Where more of the tokens are left, reading a head in order takes no longer.
MOST_OF_TOKENS = 1 / 4


def shortlist(x: Array, logits: Array, scales: Array, top: int) -> Array | None:
    """Return the tokens, rising, among which are those of the `top` highest float32 products of head and x.

    The logits (vocabulary,) are products of x (width,) and of the head in 8 bits, with the scales
    (vocabulary,). None tells that numbers are not finite, or that too many tokens are left.
    """
    if top >= len(logits):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        upper = scales + TINY_SCALE
        upper *= np.float32(_error_of_a_step(x))
        upper += logits
        # One that is not a number makes the sum none.
        if not np.isfinite(upper.sum()):
            return None
    highest = logits.max() if top == 1 else np.partition(logits, -top)[-top]
    leading = np.flatnonzero(logits >= highest)
    # Lower bounds lie as far below as the upper ones above.
    least = (logits[leading] - (upper[leading] - logits[leading])).min()
    found = np.flatnonzero(upper >= least)
    return found if len(found) <= MOST_OF_TOKENS * len(logits) else None


def _error_of_a_step(x: Array) -> float:
    """Return how far a logit may be off where a step between the weights of its token is 1."""
    magnitudes = np.abs(x.astype(np.float64))
    width, total, largest = len(x), magnitudes.sum(), magnitudes.max()
    of_weights = total / 2
    of_activations = WEIGHT_STEPS * width * (largest / ACTIVATION_STEPS / 2 + TINY_ACTIVATION)
    # The sums that are exact up to rounding are those of the head itself.
    of_sums = WEIGHT_STEPS * total * width * 2.0**-23
    return float(SLACK * (of_weights + of_activations + of_sums))
