"""Saving a model as a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.gguf.description import described
from gpt2cli.checkpoint.gguf.families import RowOrder, family_of, gguf_name, is_transposed, order_in_file
from gpt2cli.checkpoint.gguf.quantized import gguf_needed_by, numbers_of, unpack_tensor
from gpt2cli.checkpoint.gguf.rotary import FACTORS, frequency_factors
from gpt2cli.checkpoint.gguf.tensor_types import BY_NAME, TensorType
from gpt2cli.checkpoint.gguf.tokenizer.stored_tokenizer import described_tokenizer
from gpt2cli.checkpoint.gguf.writing import WrittenTensor, write_gguf
from gpt2cli.checkpoint.roles import HEAD, POSITION_EMBEDDING, TOKEN_EMBEDDING
from gpt2cli.ops.operations import StoredTensor

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# The types in which tensors are written, and their codes as the type of most of a file.
FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7, "BF16": 32}
# The stored types that are kept if no other is asked for.
PLAIN = ("F32", "F16", "BF16")
# Of rows that do not fill its blocks, as llama.cpp does.
INSTEAD = {"Q8_0": "F16"}
# The layout of the blocks.
QUANTIZATION_VERSION = 2


def save_gguf(
    path: Path,
    config: ModelConfig,
    stored: Mapping[str, StoredTensor],
    tokenizer: str,
    special_ids: tuple[int | None, int | None],
    storage: str | None,
) -> None:
    """Write a model with its tokenizer.json, whole or not at all; `special_ids` are those of BOS and EOS.

    `storage` is F32, F16 or Q8_0, or None for the stored types. As in all GGUF files, vectors and the
    position embedding are F32.

    Raises:
        UsageError: GGUF files cannot hold such a model or such a tokenizer.
        Error: the gguf package, which quantizes, is needed and not installed.
        OSError: the file cannot be written or the disk is full.
    """
    values = described(config, path.stem)
    family = family_of(config.model_type)
    if family and family.needs_head:
        stored = {HEAD: stored[TOKEN_EMBEDDING], **stored}
    tensors = [
        *_factors(config),
        *(
            _written(path, name, tensor, storage, order_in_file(name, config))
            for name, tensor in stored.items()
        ),
    ]
    file_type = next(tensor.kind.name for tensor in tensors if tensor.name == gguf_name(TOKEN_EMBEDDING))
    values = {
        **values,
        "general.file_type": FILE_TYPES[file_type],
        "general.quantization_version": QUANTIZATION_VERSION,
        **described_tokenizer(tokenizer, config.vocab_size, *special_ids),
    }
    write_gguf(path, values, tensors)


def _factors(config: ModelConfig) -> list[WrittenTensor]:
    if config.rotary is None or config.rotary.scaling != "llama3":
        return []
    factors = frequency_factors(config.rotary, config.head_width)
    return [WrittenTensor(FACTORS, BY_NAME["F32"], factors.shape, lambda: factors)]


def _written(
    path: Path, name: str, tensor: StoredTensor, storage: str | None, order: RowOrder | None
) -> WrittenTensor:
    transposed = is_transposed(name, len(tensor.shape))
    shape = tensor.shape[::-1] if transposed else tensor.shape
    kind = _type_of(name, tensor, shape, storage)

    def blocks() -> Array:
        is_kept = tensor.dtype == kind.name and kind.dtype
        numbers = unpack_tensor(tensor).array if is_kept else numbers_of(tensor)
        rows = numbers.T if transposed else numbers
        return _blocks(path, order.of(rows) if order else rows, kind)

    return WrittenTensor(gguf_name(name), kind, shape, blocks)


def _type_of(name: str, tensor: StoredTensor, shape: tuple[int, ...], storage: str | None) -> TensorType:
    if len(shape) == 1 or name == POSITION_EMBEDDING:
        return BY_NAME["F32"]
    kind = BY_NAME[storage or (tensor.dtype if tensor.dtype in PLAIN else "F32")]
    return BY_NAME[INSTEAD[kind.name]] if shape[-1] % kind.block else kind


def _blocks(path: Path, rows: Array, kind: TensorType) -> Array:
    if kind.dtype:
        with np.errstate(over="ignore"):
            return rows.astype(kind.dtype, copy=False)
    with gguf_needed_by(f"Writing {path} as {kind.name}"):
        from gguf import GGMLQuantizationType
        from gguf.quants import quantize

    quantized: Array = quantize(np.ascontiguousarray(rows), GGMLQuantizationType[kind.name])
    return quantized
