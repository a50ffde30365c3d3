"""The header of a safetensors file: the type, shape and position of each tensor, and notes on the file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from gpt2cli.errors import CheckpointError, shown

LENGTH_BYTES = 8
METADATA = "__metadata__"
# As in the reference, whose limit keeps a damaged length from being allocated.
LONGEST_HEADER = 100_000_000
LONGEST_SHAPE = 80
# As in numpy. The product of very many sizes would take minutes.
MOST_DIMENSIONS = 64
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E5M2FNUZ", "F8_E4M3FNUZ"), 8),
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
}


def read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """Return the entry of each tensor, the byte at which the data begin, and the file's size in bytes.

    As in the format's reference, tensors lie one after another and fill the file.

    Raises:
        CheckpointError: the file is unreadable or damaged.
    """
    header, start, size = _read_raw_header(path)
    header.pop(METADATA, None)
    for name, entry in header.items():
        if not isinstance(entry, dict) or not _describes_a_tensor(**entry):
            raise damaged(path, f"its header does not describe {shown(name)}")
    _require_layout(path, header, start, size)
    return header, start, size


def read_metadata(path: Path) -> Mapping[str, str]:
    """Return the notes in the header of a safetensors file.

    Raises:
        CheckpointError: the file is unreadable or damaged.
    """
    header, _, _ = _read_raw_header(path)
    notes: Mapping[str, str] = header.get(METADATA) or {}
    return notes


def damaged(path: Path, reason: str) -> CheckpointError:
    """Return the error for a damaged weights file."""
    return CheckpointError(
        f"The weights file {path} is damaged: {reason}.",
        "Fetch it again: gpt2 download MODEL with `force`.",
    )


def _read_raw_header(path: Path) -> tuple[dict[str, Any], int, int]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            if size < LENGTH_BYTES or length > size - LENGTH_BYTES:
                raise damaged(path, f"its header is cut off after {size:,} bytes")
            if length > LONGEST_HEADER:
                raise damaged(path, f"its header has {length:,} bytes")
            text = file.read(length).decode()
        header = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise damaged(path, "its header is not a JSON object")
    notes = header.get(METADATA)
    if notes is not None and not (
        isinstance(notes, dict) and all(isinstance(note, str) for note in notes.values())
    ):
        raise damaged(path, f"its header has {METADATA} other than texts")
    return header, LENGTH_BYTES + length, size


def _require_layout(path: Path, header: Mapping[str, Any], start: int, size: int) -> None:
    """Check that tensors have the bytes that their types and shapes take, and that they fill the file."""
    end = start
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        kind, shape = entry["dtype"], entry["shape"]
        begin, length = start + entry["data_offsets"][0], entry["data_offsets"][1] - entry["data_offsets"][0]
        if begin != end:
            raise damaged(
                path, f"{shown(name)} begins at byte {begin:,}, not where the tensor before it ends, {end:,}"
            )
        if math.prod(shape) * BITS[kind] != 8 * length:
            raise damaged(
                path,
                f"{shown(name)} has {length:,} bytes, but is declared as {str(shape)[:LONGEST_SHAPE]} {kind}",
            )
        end = begin + length
    if end > size:
        raise damaged(path, f"it has only {size:,} of {end:,} bytes")
    if end < size:
        raise damaged(path, f"it has {size - end:,} bytes after its tensors")


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is repeated")
    # A lone surrogate is no Unicode, and fails in whatever prints it.
    "".join([*found, *(value for value in found.values() if isinstance(value, str))]).encode()
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _describes_a_tensor(
    dtype: object = None, shape: object = None, data_offsets: object = None, **_: object
) -> bool:
    if not (isinstance(dtype, str) and dtype in BITS and _are_counts(shape) and _are_counts(data_offsets)):
        return False
    return len(shape) <= MOST_DIMENSIONS and len(data_offsets) == 2 and data_offsets[0] <= data_offsets[1]


def _are_counts(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 1 << 64 for number in value)
