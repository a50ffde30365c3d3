"""Ids in files: little-endian binary with 16 or 32 bits, bare or as .npy, and decimal text."""

from __future__ import annotations

from array import array
from typing import IO, TYPE_CHECKING, Literal

from gpt2cli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Format = Literal["u16", "u32", "npy"]

U16_SIZE = 1 << 16
# Up to seven digits and a space fit one 64-bit word, which numpy gathers fastest.
_WORD = "S8"
# From here on numpy wins, although it takes a tenth of a second to import.
_NUMPY_FROM_IDS = 1 << 17


class TokenFile:
    """A writer of ids to an open file; .npy files use 16 bits per id if the vocabulary allows, else 32.

    Raises:
        UsageError: the format is too small for the vocabulary.
    """

    def __init__(self, file: IO[bytes], file_format: Format, vocab_size: int) -> None:
        if file_format == "u16" and vocab_size > U16_SIZE:
            raise UsageError(f"u16 is too small for a vocabulary of {vocab_size}.", "Use `file_format` u32.")
        is_short = file_format == "u16" or (file_format == "npy" and vocab_size <= U16_SIZE)
        self._file = file
        self._dtype = "<u2" if is_short else "<u4"
        self._has_header = file_format == "npy"
        self._count = 0
        self._write_header()

    def write(self, ids: array[int]) -> None:
        """Append ids."""
        import numpy as np

        self._count += len(ids)
        self._file.write(np.frombuffer(ids, np.uint32).astype(self._dtype).data)

    def finish(self) -> None:
        """Complete the file after the last ids."""
        self._file.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        if self._has_header:
            from numpy.lib import format as npy

            # numpy leaves room for the length to grow, so the header can be overwritten.
            header = {"descr": self._dtype, "fortran_order": False, "shape": (self._count,)}
            npy.write_array_header_1_0(self._file, header)


class DecimalText:
    """Ids spelled as decimal numbers, each followed by a space."""

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._words: NDArray[np.uint64] | None = None
        self._spelled = 0

    def spell(self, ids: array[int]) -> bytes:
        """Return the text of ids."""
        self._spelled += len(ids)
        if self._spelled < _NUMPY_FROM_IDS or self._vocab_size > 10**7:
            return "".join([f"{token_id} " for token_id in ids]).encode()
        import numpy as np

        if self._words is None:
            spelled = [b"%d " % token_id for token_id in range(self._vocab_size)]
            self._words = np.array(spelled, _WORD).view(np.uint64)
        return self._words[np.frombuffer(ids, np.uint32)].tobytes().translate(None, b"\0")
