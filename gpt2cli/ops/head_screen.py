"""The tokens whose logits can be among the highest, found from int8 logits with error bounds.

Chen et al., "Learning to Screen for Fast Softmax Inference on Large Vocabulary Neural Networks" (2019), also
leave most tokens out, by a learned guess. Here the bounds are certain, and the highest logits exact.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# The largest whole number to which a weight is rounded, and at least to which an activation is.
WEIGHT_QMAX, ACTIVATION_QMAX = 127, 16_000
# A column with a smaller scale, or a row whose largest activation is smaller, may be rounded to zeros.
TINY_SCALE, TINY_ACTIVATION = np.float32(2.0**-119), 1e-34
# Covers the rounding of the bounds themselves, which is far less.
SLACK = 1.01
# With more tokens left, reading the head in order takes no longer.
MAX_SHARE = 1 / 4


def shortlist(x: Array, logits: Array, scales: Array, top: int) -> Array | None:
    """Return the tokens, in rising order, that include the `top` highest float32 logits of x.

    The logits (vocabulary,) are those of x (width,) and the int8 head with the scales (vocabulary,). None if
    a number is not finite, or if too many tokens are left.
    """
    if top >= len(logits):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        upper = scales + TINY_SCALE
        upper *= np.float32(_error_in_scales(x))
        upper += logits
        # A single NaN or infinity shows in the sum.
        if not np.isfinite(upper.sum()):
            return None
    highest = logits.max() if top == 1 else np.partition(logits, -top)[-top]
    leading = np.flatnonzero(logits >= highest)
    # Lower bounds are as far below as upper bounds are above.
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
