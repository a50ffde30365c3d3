"""The memory bandwidth of this machine, and the bytes that decoding a token reads."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import numpy as np

from gpt2cli.checkpoint.roles import HEAD, POSITION_EMBEDDING, TOKEN_EMBEDDING
from gpt2cli.model.model import Model

# Far larger than any cache.
MATRIX_BYTES = 256 << 20
ROW_LENGTH = 4096
PASSES = 9


def read_bandwidth(threads: int) -> float:
    """Return the bytes read per second, of the median pass, while threads multiply a matrix by a vector."""
    # BLAS reads several rows at once. Processors that prefetch by page are slower at one sequential read.
    # Filled with ones, because memory that was never written to is not read from RAM.
    matrix = np.ones((MATRIX_BYTES // (4 * ROW_LENGTH), ROW_LENGTH), np.float32)
    parts = np.array_split(matrix, threads)
    with ThreadPoolExecutor(threads) as pool:
        return MATRIX_BYTES / median(_pass_seconds(pool, parts) for _ in range(PASSES))


def _pass_seconds(pool: ThreadPoolExecutor, parts: list[np.ndarray[Any, Any]]) -> float:
    vector = np.ones(ROW_LENGTH, np.float32)
    start = time.perf_counter()
    list(pool.map(vector.__rmatmul__, parts))
    return time.perf_counter() - start


def bytes_per_token(model: Model[Any]) -> int:
    """Return the bytes of the weights that decoding one token reads, in the type they are kept in.

    An embedding contributes one row, so it counts only if it is also the head.
    """
    # A tied head that was converted to another type is kept in addition to the embedding.
    unread = {TOKEN_EMBEDDING, POSITION_EMBEDDING} if HEAD in model.weights else {POSITION_EMBEDDING}
    return sum(int(weight.nbytes) for name, weight in model.weights.items() if name not in unread)
