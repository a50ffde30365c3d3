"""Safetensors files, as Hugging Face describes the format: mapped into memory, and written."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpt2cli.ops import StoredTensor
from gpt2cli.tensor_header import LENGTH_BYTES, METADATA, damaged, read_header
from gpt2cli.whole_file import whole_file

Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]

# BF16 is read as the integers that hold its bits, because numpy has no such type.
STORED_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8", "U8": "u1"}
STORED_NAMES = {"float32": "F32", "float16": "F16", "float64": "F64", "uint16": "BF16", "uint8": "U8"}
# Tensors begin on a cache line, so that mapped weights are used without a copy.
ALIGNMENT = 64


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Map a safetensors file into memory; the tensors stay valid as long as they are referenced.

    Raises:
        CheckpointError: the file is unreadable, damaged or cut short.
    """
    header, start, size = read_header(path)
    needed = start + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if needed > size:
        raise damaged(path, f"it holds {size:,} of {needed:,} bytes")
    with path.open("rb") as file:
        # A private map is writable for torch's sake and never changes the file.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = _view(path, name, entry, mapped, start + begin, end - begin)
    return tensors


def _view(
    path: Path, name: str, entry: Mapping[str, Any], mapped: mmap.mmap, begin: int, length: int
) -> StoredTensor:
    kind, shape = entry["dtype"], tuple(entry["shape"])
    try:
        if kind not in STORED_TYPES:
            # Old mask buffers are bool or uint8; they are dropped by name later.
            return StoredTensor(kind, np.broadcast_to(np.uint8(0), shape))
        dtype = np.dtype(STORED_TYPES[kind])
        count = math.prod(shape)
        if count * dtype.itemsize != length:
            raise damaged(path, f"{name} has {length:,} bytes where {list(shape)} {kind} is declared")
        array = np.frombuffer(mapped, dtype, count, begin).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise damaged(path, f"{name} cannot have the shape {list(shape)}") from error
    # Unaligned numbers would be copied again by every product.
    return StoredTensor(kind, np.require(array, requirements=["ALIGNED", "WRITEABLE"]))


def write_safetensors(path: Path, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Write arrays one after the other, without holding a second copy of any.

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
