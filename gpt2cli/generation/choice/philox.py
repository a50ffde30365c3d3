"""Random numbers that are a function of seed, sample and step."""

from __future__ import annotations

PHILOX_ROUNDS = 10
PHILOX_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
PHILOX_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
UINT64 = 2**64 - 1
DRAWS_AT_ONCE = 64


def uniform(seed: int, sample: int, step: int) -> float:
    """Return the random number in [0, 1) for a step of a sample; the seed has at most 64 bits.

    It is the first output of Philox4x64-10 with seed and sample as the key and step + 1 as the counter.
    Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (2011).
    """
    # In Python, because importing numpy.random takes longer than many draws.
    a, b, c, d = step + 1, 0, 0, 0
    keys = (seed, sample)
    for _ in range(PHILOX_ROUNDS):
        left, right = a * PHILOX_MULTIPLIERS[0], c * PHILOX_MULTIPLIERS[1]
        a, b, c, d = right >> 64 ^ b ^ keys[0], right & UINT64, left >> 64 ^ d ^ keys[1], left & UINT64
        keys = (keys[0] + PHILOX_WEYL[0] & UINT64, keys[1] + PHILOX_WEYL[1] & UINT64)
    return (a >> 11) * 2.0**-53


class Draws:
    """The random numbers of one sample, many of which are made at once; see `uniform`."""

    def __init__(self, seed: int, sample: int) -> None:
        self._key = (seed, sample)
        self._first = 0
        self._numbers: list[float] = []

    def at(self, step: int) -> float:
        """Return the random number for a step."""
        if not self._first <= step < self._first + len(self._numbers):
            # Its import takes longer than many draws.
            from numpy import array, uint64
            from numpy.random import Philox

            # It counts before it computes, and each count has four outputs.
            generator = Philox(key=array(self._key, uint64), counter=array([step, 0, 0, 0], uint64))
            raw = generator.random_raw(4 * DRAWS_AT_ONCE)[::4]
            self._first, self._numbers = step, ((raw >> uint64(11)) * 2.0**-53).tolist()
        return self._numbers[step - self._first]
