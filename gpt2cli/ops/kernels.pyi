"""Compiled arithmetic: arrays are buffers without gaps where not said otherwise, and `out` is filled.

It overlaps no other array, though `layer_norm` may be given x itself.
"""

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

PANEL: int

def linear(
    x: Array,
    weight: Array,
    stored: int,
    bias: Array,
    gelu: bool,
    residual: Array | None,
    out: Array,
    /,
) -> None: ...
def head(x: Array, table: Array, stored: int, out: Array, /) -> None: ...
def linear_int8(
    x: Array,
    panels: Array,
    scales: Array,
    totals: Array | None,
    bias: Array | None,
    gelu: bool,
    residual: Array | None,
    out: Array,
    /,
) -> None: ...
def pack(weight: Array, panels: Array, scales: Array, totals: Array, /) -> None: ...
def attention(
    qkv: Array,
    heads: int,
    keys: Array | None,
    values: Array | None,
    past: int,
    first: int,
    scale: float,
    out: Array,
    /,
) -> None: ...
def layer_norm(x: Array, weight: Array, bias: Array, epsilon: float, out: Array, /) -> None: ...
def token_statistics(logits: Array, targets: Array, word_starts: Array | None, out: Array, /) -> None: ...
def set_threads(count: int, /) -> int: ...
def threads() -> int: ...
def use(name: str | None, /) -> str: ...
