"""A range coder: whole numbers with known frequencies to bytes and back, exactly.

Martin, "Range encoding: an algorithm for removing redundancy from a digitised message" (1979).
"""

from __future__ import annotations

from collections.abc import Iterable

from gpt2cli.errors import InputError

STATE_BITS = 96
STATE = 1 << STATE_BITS
STATE_BYTES = STATE_BITS // 8
# A range never falls below this, so that a total of 2**64 loses nothing that could be measured.
LEAST_RANGE = STATE >> 8
HIGHEST_SHIFT = STATE_BITS - 8


class RangeEncoder:
    """Encode numbers; `drain` returns the bytes that are final so far."""

    def __init__(self) -> None:
        self._low = 0
        self._range = STATE
        self._bytes = bytearray()

    def encode(self, start: int, size: int, total: int) -> None:
        """Encode the number that has the frequencies from `start` on, `size` of `total`."""
        step = self._range // total
        self._add(step * start)
        self._range = step * size
        while self._range < LEAST_RANGE:
            self._bytes.append(self._low >> HIGHEST_SHIFT)
            self._low = (self._low << 8) % STATE
            self._range <<= 8

    def drain(self) -> bytes:
        """Return the bytes that no carry can change any more."""
        end = len(self._bytes.rstrip(b"\xff")) - 1
        done = bytes(self._bytes[: max(end, 0)])
        del self._bytes[: len(done)]
        return done

    def finish(self) -> bytes:
        """Return the rest: the fewest bytes that decode to the same numbers, whatever zeros follow."""
        for count in range(STATE_BYTES + 1):
            unused = (STATE >> 8 * count) - 1
            added = -self._low & unused
            if added < self._range:
                self._add(added)
                return bytes(self._bytes) + self._low.to_bytes(STATE_BYTES, "big")[:count]
        raise AssertionError("all bytes of the state name it exactly")

    def _add(self, amount: int) -> None:
        self._low += amount
        if self._low >= STATE:
            self._low -= STATE
            place = len(self._bytes) - 1
            while self._bytes[place] == 0xFF:
                self._bytes[place] = 0
                place -= 1
            self._bytes[place] += 1


class RangeDecoder:
    """Decode what a `RangeEncoder` wrote: ask for a position, then say whose it is."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._bytes = (byte for chunk in chunks for byte in chunk)
        self._missing = 0
        self._range = STATE
        self._step = 1
        self._code = 0
        for _ in range(STATE_BYTES):
            self._read()

    def position(self, total: int) -> int:
        """Return where among `total` frequencies the next number lies.

        Raises:
            InputError: no encoder wrote this.
        """
        self._step = self._range // total
        position = self._code // self._step
        if position >= total:
            raise damaged()
        return position

    def decode(self, start: int, size: int) -> None:
        """Pass over the number that has the frequencies from `start` on, `size` of the total.

        Raises:
            InputError: the bytes ended before.
        """
        self._code -= self._step * start
        self._range = self._step * size
        while self._range < LEAST_RANGE:
            self._range <<= 8
            self._read()

    def _read(self) -> None:
        byte = next(self._bytes, None)
        if byte is None:
            # The encoder leaves out only what stands in the state.
            self._missing += 1
            if self._missing > STATE_BYTES:
                raise damaged()
        self._code = self._code << 8 | (byte or 0)


def damaged() -> InputError:
    """Return the error of a compressed text that decodes to something else, or to nothing."""
    return InputError("The compressed text is damaged or cut off.", "Copy it again.")
