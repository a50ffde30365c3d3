"""Finding the tokens with the highest logits from int8 logits and error bounds.

Chen et al., "Learning to Screen for Fast Softmax Inference on Large Vocabulary Neural Networks" (2019), also
skip most tokens, by a learned guess. Here the bounds are strict and the highest logits are exact.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# The largest integer of a quantized weight, and a lower bound on that of a quantized activation.
WEIGHT_QMAX, ACTIVATION_QMAX = 127, 16_000
# Columns with a smaller scale, and rows with a smaller largest activation, may be rounded to zero.
TINY_SCALE, TINY_ACTIVATION = np.float32(2.0**-119), 1e-34
# More than covers the rounding errors of the bounds themselves.
SLACK = 1.01
# With more tokens left, reading the whole head takes no longer.
MAX_SHARE = 1 / 4


def shortlist(x: Array, logits: Array, scales: Array, top: int) -> Array | None:
    """Return token ids, in ascending order, that include the `top` highest float32 logits of x.

    The logits (vocabulary,) are those of x (width,) and the int8 head with the scales (vocabulary,). Return
    None if a number is not finite or too many tokens are left.
    """
    if top >= len(logits):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        upper = scales + TINY_SCALE
        upper *= np.float32(_error_in_scales(x))
        upper += logits
        # Any NaN or infinity makes the sum non-finite.
        if not np.isfinite(upper.sum()):
            return None
    highest = logits.max() if top == 1 else np.partition(logits, -top)[-top]
    leading = np.flatnonzero(logits >= highest)
    # The error bounds are symmetric.
    least = (logits[leading] - (upper[leading] - logits[leading])).min()
    found = np.flatnonzero(upper >= least)
    return found if len(found) <= MAX_SHARE * len(logits) else None


def _error_in_scales(x: Array) -> float:
    """Return a bound on the error of every logit, in units of its token's scale."""
    magnitudes = np.abs(x.astype(np.float64))
    width, total, largest = len(x), magnitudes.sum(), magnitudes.max()
    of_weights = total / 2
    of_activations = WEIGHT_QMAX * width * (largest / ACTIVATION_QMAX / 2 + TINY_ACTIVATION)
    # The head's float32 logits have rounding errors too.
    of_sums = WEIGHT_QMAX * total * width * 2.0**-23
    return float(SLACK * (of_weights + of_activations + of_sums))
