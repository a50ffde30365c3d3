"""The tensors of a GGUF file, mapped into memory."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.formats.mapped_files import watch_mapping
from gpt2cli.checkpoint.formats.safetensors import OpenFile, map_tensor
from gpt2cli.checkpoint.gguf.families import is_transposed, order_in_file
from gpt2cli.checkpoint.gguf.header import TensorEntry, damaged_gguf
from gpt2cli.checkpoint.gguf.quantized import PackedTensor
from gpt2cli.errors import CheckpointError
from gpt2cli.ops.operations import StoredTensor


def map_tensors(
    path: Path, config: ModelConfig, tensors: Mapping[str, TensorEntry]
) -> dict[str, StoredTensor]:
    """Map the tensors of a GGUF file into memory as they are stored; matrices are views of shape (in, out).

    Raises:
        CheckpointError: the file cannot be read or has become shorter.
    """
    try:
        file = OpenFile(path)
        # PyTorch wants a writable map. A private one never changes the file.
        mapped = mmap.mmap(file.descriptor, 0, access=mmap.ACCESS_COPY)
        watch_mapping(path, mapped)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}.") from error
    if max((entry.end for entry in tensors.values()), default=0) > len(mapped):
        raise damaged_gguf(path, f"it has only {len(mapped):,} bytes")
    return {name: _mapped(file, name, entry, mapped, config) for name, entry in tensors.items()}


def _mapped(
    file: OpenFile, name: str, entry: TensorEntry, mapped: mmap.mmap, config: ModelConfig
) -> StoredTensor:
    kind, shape, begin, end = entry
    transposed, order = is_transposed(name, len(shape)), order_in_file(name, config)
    if kind.dtype:
        stored = map_tensor(file, name, kind.name, shape, mapped, (begin, end))
        if order is None:
            return replace(stored, array=stored.array.T, read_rows=None) if transposed else stored
        array = stored.array
    else:
        rows = (*shape[:-1], kind.row_bytes(shape[-1]))
        array = np.frombuffer(mapped, np.uint8, end - begin, begin).reshape(rows)
    packed = PackedTensor(
        kind.name,
        array,
        packed_shape=shape[::-1] if transposed else shape,
        is_transposed=transposed,
        order=order.inverse() if order else None,
        file=str(file.path),
    )
    # What has few numbers is not worth keeping.
    return packed.unpacked() if len(shape) == 1 else packed
