"""The header of a GGUF file: what it says of the model, and where each tensor is.

Every count, length and offset is compared with the file's size before anything is read or allocated for it.
The format is described in docs/gguf.md of ggml-org/ggml.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from gpt2cli.checkpoint.formats.mapped_files import watch_mapping
from gpt2cli.checkpoint.gguf.tensor_types import BY_CODE, TensorType, type_name
from gpt2cli.errors import CheckpointError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
# The formats of single values by the codes of their types.
SCALARS = {code: f"<{letter}" for code, letter in zip((*range(8), 10, 11, 12), "BbHhIif?Qqd", strict=True)}
STRING, ARRAY = 8, 9
# The fewest bytes of an entry: lengths, types and numbers alone.
LEAST_VALUE_BYTES, LEAST_TENSOR_BYTES = 13, 32
# Far more than any model has; each takes some hundred times its bytes in memory.
MOST_ENTRIES = 1 << 16
MOST_DIMENSIONS = 4
DEFAULT_ALIGNMENT = 32

Buffer: TypeAlias = "mmap.mmap | bytes"


class StoredArray(NamedTuple):
    """An array in the header, not yet read: the code of its elements' type, their number and first byte."""

    kind: int
    length: int
    begin: int


class TensorEntry(NamedTuple):
    """A tensor: its type, its shape with the longest stride first, and its bytes in the file."""

    kind: TensorType
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, eq=False, repr=False)
class GgufHeader:
    """The header of a GGUF file; `values` has single values, strings and arrays by their keys."""

    path: Path
    data: Buffer
    values: Mapping[str, Any]
    tensors: Mapping[str, TensorEntry]

    def value(self, key: str, kind: type) -> Any:
        """Return a value of a kind, or None if the file has none.

        Raises:
            CheckpointError: it is of another kind.
        """
        found = self.values.get(key)
        if found is not None and type(found) is not kind:
            raise damaged_gguf(self.path, f"{key} is {_shown(found)}")
        return found

    def strings(self, key: str, most: int) -> list[str] | None:
        """Return an array of at most `most` strings, or None if the file has none.

        Raises:
            CheckpointError: it is longer or of another kind, or a string is not UTF-8.
        """
        array = self._array(key, most, (STRING,))
        if array is None:
            return None
        reader = _Reader(self.path, self.data, array.begin)
        return [reader.text() for _ in range(array.length)]

    def numbers(self, key: str, most: int) -> list[int] | None:
        """Return an array of at most `most` whole numbers, or None if the file has none.

        Raises:
            CheckpointError: it is longer or of another kind.
        """
        array = self._array(key, most, (0, 1, 2, 3, 4, 5, 10, 11))
        if array is None:
            return None
        letter = SCALARS[array.kind][1]
        return list(struct.unpack_from(f"<{array.length}{letter}", self.data, array.begin))

    def _array(self, key: str, most: int, kinds: tuple[int, ...]) -> StoredArray | None:
        array: StoredArray | None = self.value(key, StoredArray)
        if array is None:
            return None
        if array.kind not in kinds or array.length > most:
            raise damaged_gguf(self.path, f"{key} is {_shown(array)}")
        return array


def read_gguf_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file.

    Raises:
        CheckpointError: the file is unreadable, damaged or of an unsupported kind; the message says which.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(8)
            _require_gguf(path, beginning)
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            watch_mapping(path, data)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}.") from error
    reader = _Reader(path, data, len(beginning))
    tensors, values = reader.number("<Q"), reader.number("<Q")
    reader.require_entries(tensors, LEAST_TENSOR_BYTES, "tensors")
    reader.require_entries(values, LEAST_VALUE_BYTES, "values")
    found = {}
    for _ in range(values):
        key = reader.text()
        if key in found:
            raise damaged_gguf(path, f"{_quoted(key)} is there twice")
        found[key] = reader.value()
    _require_whole(path, found)
    return GgufHeader(path, data, found, _read_tensors(reader, tensors, found))


def damaged_gguf(path: Path, reason: str) -> CheckpointError:
    """Return the error for a damaged GGUF file."""
    return CheckpointError(f"{path} is damaged: {reason}.", "Copy it again from where it came.")


def unsupported_gguf(path: Path, reason: str, hint: str) -> CheckpointError:
    """Return the error for a sound GGUF file that cannot be used."""
    return CheckpointError(f"{path} {reason}.", hint)


class _Reader:
    """A place in a header, which moves on by what is read."""

    def __init__(self, path: Path, data: Buffer, at: int) -> None:
        self.path = path
        self.data = data
        self.size = len(data)
        self.at = at

    def number(self, form: str) -> Any:
        at = self._take(struct.calcsize(form))
        return struct.unpack_from(form, self.data, at)[0]

    def text(self) -> str:
        length = self.number("<Q")
        at = self._take(length)
        try:
            return self.data[at : at + length].decode()
        except UnicodeDecodeError as error:
            raise damaged_gguf(self.path, f"the text at byte {at:,} is not UTF-8") from error

    def value(self) -> Any:
        kind = self.number("<I")
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            return self._array()
        return self.number(self._format(kind))

    def require_entries(self, count: int, least_bytes: int, what: str) -> None:
        """Check that a number of entries fits what is left of the file."""
        if count > MOST_ENTRIES or count * least_bytes > self.size - self.at:
            raise damaged_gguf(self.path, f"its header declares {count:,} {what}")

    def _array(self) -> StoredArray:
        kind, count = self.number("<I"), self.number("<Q")
        begin = self.at
        if kind == STRING:
            self._skip_texts(count)
        else:
            self._take(count * struct.calcsize(self._format(kind)))
        return StoredArray(kind, count, begin)

    def _skip_texts(self, count: int) -> None:
        data, size, at = self.data, self.size, self.at
        length_at = struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at + 8 > size:
                raise self._cut_off()
            at += 8 + length_at(data, at)[0]
        if at > size:
            raise self._cut_off()
        self.at = at

    def _format(self, kind: int) -> str:
        if kind not in SCALARS:
            raise damaged_gguf(self.path, f"its header has a value of unknown type {kind}")
        return SCALARS[kind]

    def _take(self, length: int) -> int:
        at = self.at
        if length > self.size - at:
            raise self._cut_off()
        self.at += length
        return at

    def _cut_off(self) -> CheckpointError:
        return damaged_gguf(self.path, f"its header is cut off after {self.size:,} bytes")


def _require_gguf(path: Path, beginning: bytes) -> None:
    if beginning[:4] != MAGIC:
        raise CheckpointError(f"{path} is not a GGUF file.", "Its first four bytes must be GGUF.")
    if len(beginning) < 8:
        raise damaged_gguf(path, f"its header is cut off after {len(beginning)} bytes")
    version = int.from_bytes(beginning[4:], "little")
    if int.from_bytes(beginning[4:], "big") in VERSIONS:
        raise unsupported_gguf(
            path, "is big-endian", "Convert it with gguf-convert-endian of the gguf package."
        )
    if version not in VERSIONS:
        raise unsupported_gguf(
            path, f"is GGUF version {version}", f"Versions {VERSIONS[0]} and {VERSIONS[1]} can be read."
        )


def _require_whole(path: Path, values: Mapping[str, Any]) -> None:
    parts = values.get("split.count")
    if isinstance(parts, int) and parts > 1:
        raise unsupported_gguf(
            path, f"is one of {parts} parts of a model", "Join them with llama-gguf-split of llama.cpp."
        )


def _read_tensors(reader: _Reader, count: int, values: Mapping[str, Any]) -> dict[str, TensorEntry]:
    path = reader.path
    declared = {}
    for _ in range(count):
        name = reader.text()
        if name in declared:
            raise damaged_gguf(path, f"{_quoted(name)} is there twice")
        dimensions = reader.number("<I")
        if not 0 < dimensions <= MOST_DIMENSIONS:
            raise damaged_gguf(path, f"{_quoted(name)} has {dimensions:,} dimensions")
        # The file has the shortest stride first.
        shape = tuple(reader.number("<Q") for _ in range(dimensions))[::-1]
        declared[name] = shape, reader.number("<I"), reader.number("<Q")
    alignment = values.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise damaged_gguf(path, f"general.alignment is {_shown(alignment)}")
    start = -(-reader.at // alignment) * alignment
    return {name: _place(path, name, *described, start, reader.size) for name, described in declared.items()}


def _place(
    path: Path, name: str, shape: tuple[int, ...], code: int, offset: int, start: int, size: int
) -> TensorEntry:
    kind = BY_CODE.get(code)
    if kind is None:
        readable = ", ".join(other.name for other in BY_CODE.values())
        raise unsupported_gguf(
            path, f"stores {_quoted(name)} as {type_name(code)}", f"Types that can be read are {readable}."
        )
    if shape[-1] % kind.block or not all(shape):
        raise damaged_gguf(path, f"{_quoted(name)} cannot have the shape {list(shape)} as {kind.name}")
    begin = start + offset
    end = begin + math.prod(shape[:-1]) * kind.row_bytes(shape[-1])
    if end > size:
        raise damaged_gguf(path, f"it has only {size:,} of {end:,} bytes")
    return TensorEntry(kind, shape, begin, end)


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= 80 else f"{text[:80]}...")


def _shown(value: object) -> str:
    if isinstance(value, StoredArray):
        return f"an array of {value.length:,} values"
    return f"the text {_quoted(value)}" if isinstance(value, str) else repr(value)
