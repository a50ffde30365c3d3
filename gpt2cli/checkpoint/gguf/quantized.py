"""Tensors that GGUF files store in blocks of a few bits a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.checkpoint.gguf.library import gguf_needed_by
from gpt2cli.ops.numpy_ops import widen
from gpt2cli.ops.operations import StoredTensor

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False, repr=False)
class QuantizedTensor(StoredTensor):
    """A tensor in blocks, which nothing can compute with before it is dequantized.

    `dtype` is the name of a type in `tensor_types`, and the array the bytes of the blocks, row by row. The
    rows of a transposed matrix are the columns of its shape. `file` is named in errors.
    """

    is_transposed: bool = False
    file: str = ""

    def numbers(self) -> Array:
        """Return the numbers as float32.

        Raises:
            Error: the gguf package, which knows the blocks, is not installed.
        """
        with gguf_needed_by(f"{self.file} is stored as {self.dtype}, which"):
            from gguf import GGMLQuantizationType
            from gguf.quants import dequantize

        # Damaged scales may be infinite or not numbers, which shows when the model computes.
        with np.errstate(all="ignore"):
            numbers: Array = dequantize(self.array, GGMLQuantizationType[self.dtype])
        return numbers.T if self.is_transposed else numbers


def numbers_of(tensor: StoredTensor) -> Array:
    """Return the numbers of a stored tensor as float32.

    Raises:
        Error: it is quantized, and the gguf package is not installed.
    """
    return tensor.numbers() if isinstance(tensor, QuantizedTensor) else widen(tensor.array)


def dequantized(stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Return tensors as they are stored, but for quantized ones, which are made float32.

    Raises:
        Error: one is quantized, and the gguf package is not installed.
    """
    return {
        name: StoredTensor("F32", tensor.numbers()) if isinstance(tensor, QuantizedTensor) else tensor
        for name, tensor in stored.items()
    }
