"""The header of a safetensors file: the type, shape and position of each tensor, and notes on the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from gpt2cli.errors import CheckpointError

LENGTH_BYTES = 8
METADATA = "__metadata__"


def read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """Return the entry of each tensor, the byte at which the data begin, and the file's size in bytes.

    Raises:
        CheckpointError: the file is unreadable or damaged.
    """
    header, start, size = _read_raw_header(path)
    header.pop(METADATA, None)
    for name, entry in header.items():
        if not isinstance(entry, dict) or not _describes_a_tensor(**entry):
            raise damaged(path, f"its header does not describe {name}")
    return header, start, size


def read_metadata(path: Path) -> Mapping[str, str]:
    """Return the notes in the header of a safetensors file.

    Raises:
        CheckpointError: the file is unreadable or damaged.
    """
    header, _, _ = _read_raw_header(path)
    notes = header.get(METADATA)
    if not isinstance(notes, dict):
        return {}
    return {key: value for key, value in notes.items() if isinstance(value, str)}


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
            header = json.loads(file.read(length))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise damaged(path, "its header is not a JSON object")
    return header, LENGTH_BYTES + length, size


def _describes_a_tensor(
    dtype: object = None, shape: object = None, data_offsets: object = None, **_: object
) -> bool:
    if not (isinstance(dtype, str) and _are_counts(shape) and _are_counts(data_offsets)):
        return False
    return len(data_offsets) == 2 and data_offsets[0] <= data_offsets[1]


def _are_counts(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)
