"""Safetensors files, as Hugging Face describes the format: mapped into memory, and written."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from gpt2cli.errors import CheckpointError
from gpt2cli.ops import StoredTensor
from gpt2cli.whole_file import whole_file

Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]

# BF16 is read as the integers that hold its bits, because numpy has no such type.
STORED_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8", "U8": "u1"}
STORED_NAMES = {"float32": "F32", "float16": "F16", "float64": "F64", "uint16": "BF16", "uint8": "U8"}
LENGTH_BYTES = 8
METADATA = "__metadata__"
# Tensors begin on a cache line, so that mapped weights are used without a copy.
ALIGNMENT = 64


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Map a safetensors file into memory; the tensors stay valid as long as they are referenced.

    Raises:
        CheckpointError: the file is unreadable, damaged or cut short.
    """
    header, start, size = _read_header(path)
    needed = start + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if needed > size:
        raise _damaged(path, f"it holds {size:,} of {needed:,} bytes")
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
            raise _damaged(path, f"{name} has {length:,} bytes where {list(shape)} {kind} is declared")
        array = np.frombuffer(mapped, dtype, count, begin).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise _damaged(path, f"{name} cannot have the shape {list(shape)}") from error
    # Unaligned numbers would be copied again by every product.
    return StoredTensor(kind, np.require(array, requirements=["ALIGNED", "WRITEABLE"]))


def _read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    header, start, size = _read_raw_header(path)
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if not isinstance(entry, dict) or not _describes_a_tensor(**entry):
            raise _damaged(path, f"its header does not describe {name}")
    return header, start, size


def _describes_a_tensor(
    dtype: object = None, shape: object = None, data_offsets: object = None, **_: object
) -> bool:
    if not (isinstance(dtype, str) and _are_counts(shape) and _are_counts(data_offsets)):
        return False
    return len(data_offsets) == 2 and data_offsets[0] <= data_offsets[1]


def _are_counts(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def _read_raw_header(path: Path) -> tuple[dict[str, Any], int, int]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            if size < LENGTH_BYTES or length > size - LENGTH_BYTES:
                raise _damaged(path, f"its header is cut off after {size:,} bytes")
            header = json.loads(file.read(length))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a JSON object")
    return header, LENGTH_BYTES + length, size


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"The weights file {path} is damaged: {reason}.",
        "Fetch it again: gpt2 download --force MODEL.",
    )


def read_metadata(path: Path) -> Mapping[str, str]:
    """Return the notes in the header of a safetensors file.

    Raises:
        CheckpointError: the file is unreadable or damaged.
    """
    header, _, _ = _read_raw_header(path)
    notes = header.get(METADATA)
    return notes if isinstance(notes, dict) else {}


def write_safetensors(path: Path, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Write arrays one after the other, without holding a second copy of any.

    Raises:
        OSError: the file cannot be written or the disk is full.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
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
    described += b" " * (-(8 + len(described)) % ALIGNMENT)
    with whole_file(path) as file:
        file.write(len(described).to_bytes(8, "little") + described)
        for array in arrays.values():
            file.write(np.require(array, requirements=["C"]).data)
