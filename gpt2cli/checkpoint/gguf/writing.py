"""Writing GGUF files."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np

from gpt2cli.checkpoint.gguf.header import ARRAY, DEFAULT_ALIGNMENT, MAGIC, STRING, VERSIONS
from gpt2cli.checkpoint.gguf.tensor_types import TensorType
from gpt2cli.checkpoint.whole_file import whole_file

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# The codes of the types that are written, of which readers expect 32 bits.
UINT32, INT32, FLOAT32, BOOL = 4, 5, 6, 7


class WrittenTensor(NamedTuple):
    """A tensor to write: its shape with the longest stride first, and what makes its blocks or numbers."""

    name: str
    kind: TensorType
    shape: tuple[int, ...]
    blocks: Callable[[], Array]

    @property
    def size(self) -> int:
        """The bytes that the tensor takes."""
        return math.prod(self.shape[:-1]) * self.kind.row_bytes(self.shape[-1])


def write_gguf(path: Path, values: Mapping[str, Any], tensors: Sequence[WrittenTensor]) -> None:
    """Write a GGUF file, making one tensor after another; it appears whole or not at all.

    Values are texts, whole numbers, numbers, truth values, and lists of one kind of these.

    Raises:
        OSError: the file cannot be written or the disk is full.
    """
    with whole_file(path) as file:
        file.write(MAGIC + struct.pack("<IQQ", VERSIONS[-1], len(tensors), len(values)))
        for key, value in values.items():
            file.write(_text(key) + _value(value))
        offset = 0
        for tensor in tensors:
            dimensions = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape[::-1])
            file.write(_text(tensor.name) + dimensions + struct.pack("<IQ", tensor.kind.code, offset))
            offset += tensor.size + _padding(tensor.size)
        _write_data(file, tensors)


def _write_data(file: IO[bytes], tensors: Iterable[WrittenTensor]) -> None:
    file.write(bytes(_padding(file.tell())))
    for tensor in tensors:
        blocks = np.ascontiguousarray(tensor.blocks())
        assert blocks.nbytes == tensor.size, tensor.name
        file.write(blocks.data)
        file.write(bytes(_padding(tensor.size)))


def _padding(size: int) -> int:
    return -size % DEFAULT_ALIGNMENT


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _text(value)
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, float):
        return struct.pack("<If", FLOAT32, value)
    if isinstance(value, int):
        return struct.pack("<II", UINT32, value)
    if all(isinstance(element, str) for element in value):
        return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(_text, value))
    kind, letter = (FLOAT32, "f") if isinstance(value[0], float) else (INT32, "i")
    return struct.pack(f"<IIQ{len(value)}{letter}", ARRAY, kind, len(value), *value)
