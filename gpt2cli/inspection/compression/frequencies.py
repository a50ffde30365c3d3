"""Logits as whole frequencies, the same on every processor that computes the same logits.

Libraries round exponentials differently, from processor to processor. Here are only operations that IEEE 754
rounds in one way: products and sums of single numbers, and sums of integers.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from gpt2cli.errors import Error
from gpt2cli.generation.sampling import Scores

Frequencies: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

# The likeliest token has this frequency and one more; every other has one at least.
HIGHEST = 1 << 30
LEAST_EXPONENT = -32.0
LOG2_E = 1.4426950408889634
# The Taylor series of 2**x. Written out, because the powers of libraries differ in the last bit.
TERMS = (
    *(1.0, 0.6931471805599453, 0.24022650695910072, 0.05550410866482158, 0.009618129107628477),
    *(0.0013333558146428443, 0.0001540353039338161, 1.5252733804059841e-05, 1.321548679014431e-06),
)


def frequencies(logits: Scores) -> Frequencies:
    """Return the frequencies (..., vocabulary) of tokens with these logits; none is zero.

    Raises:
        Error: the model produced NaN, or an infinite logit.
    """
    highest = logits.max(axis=-1, keepdims=True)
    if not np.isfinite(highest).all():
        raise Error("The model produced NaN.", "Its weights may be damaged.")
    exponents = (logits.astype(np.float64) - highest) * LOG2_E
    np.maximum(exponents, LEAST_EXPONENT, out=exponents)
    whole = np.floor(exponents)
    exponents -= whole
    powers = np.full_like(exponents, TERMS[-1])
    for term in reversed(TERMS[:-1]):
        powers *= exponents
        powers += term
    scaled: Frequencies = (np.ldexp(powers, whole.astype(np.int32)) * HIGHEST).astype(np.int64)
    return scaled + 1
