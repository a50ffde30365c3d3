"""A decoder's operations in compiled C.

Arrays are passed as buffers and must be contiguous unless noted. Each operation fills `out`, which must not
overlap another array, except that norms may overwrite x. `dtype` is 0 for float32, 1 for float16 and 2 for
bfloat16 (as uint16). `activation` is 0 for none, 1 for GELU by tanh, 2 for GELU and 3 for SiLU. See
docs/kernels.md.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# The panels of an int8 matrix are uint8 of shape
# (padded columns / INT8_PANEL_COLUMNS, padded depth / INT8_QUAD, INT8_PANEL_COLUMNS, INT8_QUAD).
INT8_PANEL_COLUMNS: int
INT8_QUAD: int
# The most products that an int8 matrix may sum.
INT8_MAX_DEPTH: int

# The weight (depth, columns) may be a transpose.
def linear(
    x: Array,
    weight: Array,
    dtype: int,
    bias: Array | None,
    activation: int,
    gate: Array | None,
    residual: Array | None,
    out: Array,
    /,
) -> None: ...

# Fill the panels (panels, depth, panel_columns()) of a float32 weight (depth, columns), in which products of
# many rows read it faster. linear_packed computes the bits of linear for any number of rows.
def pack(weight: Array, panels: Array, /) -> None: ...
def linear_packed(
    x: Array,
    panels: Array,
    bias: Array | None,
    activation: int,
    gate: Array | None,
    residual: Array | None,
    out: Array,
    /,
) -> None: ...

# Return the columns of a panel, which the instruction set decides.
def panel_columns() -> int: ...
def lm_head(x: Array, table: Array, dtype: int, out: Array, /) -> None: ...
def linear_int8(
    x: Array,
    panels: Array,
    scales: Array,
    totals: Array | None,
    bias: Array | None,
    activation: int,
    gate: Array | None,
    residual: Array | None,
    out: Array,
    /,
) -> None: ...

# The weight (depth, columns) may have any strides; panels, scales and totals are filled.
def pack_int8(weight: Array, panels: Array, scales: Array, totals: Array, /) -> None: ...

# Queries, keys and values (batch, time, heads, width) may be strided. With a cache (heads, positions, width),
# which may be strided too, the batch is 1, and the rows that lie side by side in it have spans (rows, 4) of
# int64: where a row begins in the cache, how many positions it has there, how many are new, and how many of
# these need no output. The new keys and values are appended. Without a cache, the queries before `first` need
# none. A window of 0 shows all positions.
def attention(
    queries: Array,
    keys: Array,
    values: Array,
    cached_keys: Array | None,
    cached_values: Array | None,
    spans: Array | None,
    first: int,
    scale: float,
    window: int,
    out: Array,
    /,
) -> None: ...

# Rotate the first 2 * pairs of each head's numbers in place, by cosines and sines (time, pairs). Queries and
# keys (batch, time, heads, width) may be strided.
def rotate(queries: Array, keys: Array, cosines: Array, sines: Array, neighbours: bool, /) -> None: ...
def layer_norm(x: Array, weight: Array, bias: Array | None, epsilon: float, out: Array, /) -> None: ...
def rms_norm(x: Array, weight: Array, epsilon: float, out: Array, /) -> None: ...
def token_statistics(logits: Array, targets: Array, word_starts: Array | None, out: Array, /) -> None: ...

# Return a checksum of 64 bits of a uint8 array.
def checksum(data: Array, /) -> int: ...

# Have SIGBUS print a message and end the process with exit code 1 if it comes from these bytes, unless the
# program handles it itself.
def watch_mapping(mapped: memoryview, message: bytes, /) -> None: ...

# Choose from each row of logits (vocabulary,). The filters (rows, 5) are doubles: the temperature, k or 0,
# p, the logarithm of min-p, and the position of the draw. Out is int64: -1 if there is NaN or infinity, -2
# if all logits are minus infinity.
def choose(rows: Sequence[Array], filters: Array, out: Array, /) -> None: ...

# Return the number of threads now in use.
def set_threads(count: int, /) -> int: ...
def threads() -> int: ...

# Use the kernels for an instruction set, or the fastest if None, and return its name.
def use(name: str | None, /) -> str: ...
