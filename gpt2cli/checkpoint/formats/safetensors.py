"""Safetensors files, a format of Hugging Face: mapping them into memory, and writing them."""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.checkpoint.formats.mapped_files import watch_mapping
from gpt2cli.checkpoint.formats.safetensors_header import LENGTH_BYTES, METADATA, damaged, read_header
from gpt2cli.checkpoint.whole_file import whole_file
from gpt2cli.errors import shown
from gpt2cli.ops.operations import StoredTensor

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Arrays: TypeAlias = Mapping[str, Array]

# BF16 is read as integers with the same bits, because numpy has no such type.
STORED_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8", "U8": "u1"}
STORED_NAMES = {"float32": "F32", "float16": "F16", "float64": "F64", "uint16": "BF16", "uint8": "U8"}
# Tensors begin on a cache line, so that mapped weights are used without a copy.
ALIGNMENT = 64
# Smaller tensors are read, because the system maps whole blocks around every byte that is touched.
MAPPED_FROM_BYTES = 64 << 10


class OpenFile:
    """A file that stays open as long as this object is referenced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        os.close(self.descriptor)


class FileRows:
    """A reader of the rows of a matrix that begins at a byte of a file; see `StoredTensor.read_rows`."""

    def __init__(self, file: OpenFile, begin: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.file = file
        self.begin = begin
        self.dtype = dtype
        self.shape = shape

    def __call__(self, places: Array) -> Array:
        """Return the rows at `places` (count,) in the shape (count, width).

        Raises:
            IndexError: a place is out of range.
            CheckpointError: the file has become shorter.
        """
        count, width = self.shape
        rows = places.tolist()
        if rows and not 0 <= min(rows) <= max(rows) < count:
            raise IndexError(f"rows {min(rows)} to {max(rows)} of {count}")
        descriptor, begin, size = self.file.descriptor, self.begin, width * self.dtype.itemsize
        data = b"".join([os.pread(descriptor, size, begin + row * size) for row in rows])
        if len(data) < len(rows) * size:
            raise damaged(self.file.path, "it was cut short while being read")
        return np.frombuffer(data, self.dtype).reshape(len(rows), width)


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Map a safetensors file into memory, except for small tensors, which are read.

    Tensors stay valid as long as they are referenced.

    Raises:
        CheckpointError: the file is unreadable, damaged or cut short.
    """
    header, start, _ = read_header(path)
    file = OpenFile(path)
    # PyTorch wants a writable map. A private one never changes the file.
    mapped = mmap.mmap(file.descriptor, 0, access=mmap.ACCESS_COPY)
    watch_mapping(path, mapped)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        place = start + begin, start + end
        tensors[name] = map_tensor(file, name, entry["dtype"], tuple(entry["shape"]), mapped, place)
    return tensors


def map_tensor(
    file: OpenFile,
    name: str,
    kind: str,
    shape: tuple[int, ...],
    mapped: mmap.mmap,
    place: tuple[int, int],
) -> StoredTensor:
    """Return a view of the bytes at a place in a mapped file, or a copy of them if they are few.

    Raises:
        CheckpointError: the shape does not fit the bytes.
    """
    path, begin, length = file.path, place[0], place[1] - place[0]
    try:
        if kind not in STORED_TYPES:
            # Old mask buffers may be bool. They are dropped by name later.
            return StoredTensor(kind, np.broadcast_to(np.uint8(0), shape))
        dtype = np.dtype(STORED_TYPES[kind])
        count = math.prod(shape)
        if count * dtype.itemsize != length:
            raise damaged(
                path, f"{shown(name)} has {length:,} bytes, but is declared as {list(shape)} {kind}"
            )
        if length < MAPPED_FROM_BYTES:
            array = np.frombuffer(bytearray(os.pread(file.descriptor, length, begin)), dtype, count)
        else:
            array = np.frombuffer(mapped, dtype, count, begin)
        array = array.reshape(shape)
    except (OverflowError, ValueError) as error:
        raise damaged(path, f"{shown(name)} cannot have the shape {list(shape)}") from error
    # Unaligned numbers would be copied again by every product.
    array = np.require(array, requirements=["ALIGNED", "WRITEABLE"])
    read_rows = FileRows(file, begin, dtype, shape) if len(shape) == 2 else None
    return StoredTensor(kind, array, read_rows=read_rows)


def write_safetensors(path: Path, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Write arrays one after another, without a second copy of any in memory.

    Raises:
        OSError: the file cannot be written or the disk is full.
    """
    header: dict[str, Any] = {METADATA: dict(metadata)}
    offset = 0
    for name, array in arrays.items():
        end = offset + array.nbytes
        header[name] = {
            "dtype": STORED_NAMES[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    described = json.dumps(header).encode()
    described += b" " * (-(LENGTH_BYTES + len(described)) % ALIGNMENT)
    with whole_file(path) as file:
        file.write(len(described).to_bytes(LENGTH_BYTES, "little") + described)
        for array in arrays.values():
            file.write(np.require(array, requirements=["C"]).data)
