"""Tensors of GGUF files that nothing can compute with as they are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.checkpoint.gguf.families import RowOrder
from gpt2cli.checkpoint.gguf.tensor_types import BY_NAME
from gpt2cli.errors import Error
from gpt2cli.ops.numpy_ops import widen
from gpt2cli.ops.operations import StoredTensor

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

INSTALL_GGUF = "pip install 'gpt2cli[gguf]'"


@contextmanager
def gguf_needed_by(user: str) -> Iterator[None]:
    """Import in the block what needs the package; `user` is what needs it, such as a file.

    Raises:
        Error: it is not installed, or its import fails.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = "which is not installed" if error.name == "gguf" else f"which lacks {error.name}"
        raise Error(f"{user} needs the package gguf, {missing}.", f"Install it: {INSTALL_GGUF}") from error
    except ImportError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise Error(
            f"{user} needs the package gguf, which cannot be imported: {reason}.",
            f"Install it again: {INSTALL_GGUF}",
        ) from error


@dataclass(frozen=True, eq=False, repr=False)
class PackedTensor(StoredTensor):
    """A tensor in blocks of a few bits a number, or whose rows have another order in the file.

    `dtype` is the name of a type in `tensor_types`, and the array the numbers, or the bytes of the blocks,
    row by row. `order` is the one that the rows should have. The rows of a transposed matrix are the columns
    of its shape. `file` is named in errors.
    """

    is_transposed: bool = False
    order: RowOrder | None = None
    file: str = ""

    def unpacked(self) -> StoredTensor:
        """Return the tensor in the type that it is stored in, or in float32 if it is in blocks.

        Raises:
            Error: the gguf package, which knows the blocks, is not installed.
        """
        is_plain = bool(BY_NAME[self.dtype].dtype)
        rows = self.array if is_plain else self._dequantized()
        rows = self.order.of(rows) if self.order else rows
        return StoredTensor(self.dtype if is_plain else "F32", rows.T if self.is_transposed else rows)

    def _dequantized(self) -> Array:
        with gguf_needed_by(f"{self.file} is stored as {self.dtype}, which"):
            from gguf import GGMLQuantizationType
            from gguf.quants import dequantize

        # Damaged scales may be infinite or not numbers, which shows when the model computes.
        with np.errstate(all="ignore"):
            numbers: Array = dequantize(self.array, GGMLQuantizationType[self.dtype])
        return numbers


def unpack_tensor(tensor: StoredTensor) -> StoredTensor:
    """Return a tensor that something can compute with.

    Raises:
        Error: it is quantized, and the gguf package is not installed.
    """
    return tensor.unpacked() if isinstance(tensor, PackedTensor) else tensor


def numbers_of(tensor: StoredTensor) -> Array:
    """Return the numbers of a stored tensor as float32.

    Raises:
        Error: it is quantized, and the gguf package is not installed.
    """
    return widen(unpack_tensor(tensor).array)


def dequantized(stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Return tensors as they are stored, but for quantized ones, which are made float32.

    Raises:
        Error: one is quantized, and the gguf package is not installed.
    """
    return {name: unpack_tensor(tensor) for name, tensor in stored.items()}
