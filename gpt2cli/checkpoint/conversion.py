"""A checkpoint's matrices in a narrower type, converted once and kept for later starts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from gpt2cli.checkpoint import conversion_place as kept
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.conversion_place import ConversionPlace
from gpt2cli.checkpoint.formats.safetensors import read_safetensors, write_safetensors
from gpt2cli.checkpoint.formats.safetensors_header import read_metadata
from gpt2cli.checkpoint.roles import HEAD, TOKEN_EMBEDDING, is_layer_matrix
from gpt2cli.checkpoint.weights import expected_shapes
from gpt2cli.checkpoint.whole_file import removed_unless_renamed
from gpt2cli.errors import CheckpointError
from gpt2cli.ops.operations import Storage, StoredTensor

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

Kept: TypeAlias = Literal["float32"] | Storage

STORED_AS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
KEPT_TYPES = {"float32": {"F32"}, "float16": {"F16"}, "bfloat16": {"BF16"}, "int8": {"U8", "F32"}}
# Increased whenever layouts or names change, so that older files are replaced.
LAYOUT = "6"
SCALES, TOTALS = ".scales", ".totals"
HEAD_SCREEN = "int8-head"
# Smaller heads are fast to read without a screen.
SCREENED_FROM_BYTES = 32 << 20
BFLOAT16_NAN = 0x7FC0


class Conversion(NamedTuple):
    """A model's matrices in another type; `problem` says why they could not be kept, if they could not."""

    weights: Mapping[str, StoredTensor]
    problem: str = ""


def convert(
    stored: Mapping[str, StoredTensor], place: ConversionPlace, config: ModelConfig, storage: Storage
) -> Conversion:
    """Return the matrices of all linear layers and the head in the type `storage`, mapped from a kept file.

    A tied head gets a separate name, because the embeddings keep their type. The file is written if it is
    missing, damaged or older than the checkpoint's files.
    """
    sources = {
        name: stored[TOKEN_EMBEDDING if name == HEAD and HEAD not in stored else name]
        for name in _product_names(config)
    }
    if all(source.dtype == STORED_AS.get(storage) for source in sources.values()):
        return Conversion({})
    return _convert_once(sources, place, config, storage, storage)


def dequantize(stored: Mapping[str, StoredTensor], place: ConversionPlace, config: ModelConfig) -> Conversion:
    """Return the tensors of a GGUF file that nothing can compute with in float32, kept as by `convert`.

    Raises:
        Error: the gguf package, which knows how they are quantized, is not installed.
    """
    from gpt2cli.checkpoint.gguf.quantized import PackedTensor

    sources = {name: tensor for name, tensor in stored.items() if isinstance(tensor, PackedTensor)}
    return _convert_once(sources, place, config, "float32", "float32") if sources else Conversion({})


def screen_head(
    stored: Mapping[str, StoredTensor], place: ConversionPlace, config: ModelConfig, storage: Storage | None
) -> dict[str, StoredTensor]:
    """Return a model's large head in the type `storage` with its screen, kept as by `convert`.

    If the screen cannot be kept, it is made again at every start. A small head gets none.
    """
    name = HEAD if HEAD in stored else TOKEN_EMBEDDING
    head = stored[name]
    if head.scales is not None or head.array.nbytes < SCREENED_FROM_BYTES:
        return {}
    # The screen's bounds are valid only for the head's numbers in this type.
    kind = f"{storage}-{HEAD_SCREEN}" if storage else HEAD_SCREEN
    screen = _convert_once({HEAD: head}, place, config, "int8", kind).weights[HEAD]
    return {name: replace(head, screen=screen)}


def _convert_once(
    sources: Mapping[str, StoredTensor],
    place: ConversionPlace,
    config: ModelConfig,
    storage: Kept,
    kind: str,
) -> Conversion:
    shapes = {name: source.shape for name, source in sources.items()}
    path = place.path(kind)
    notes = {
        kept.SOURCE: place.source,
        kept.LAYOUT: LAYOUT,
        kept.TYPE: kind,
        kept.HEAD: TOKEN_EMBEDDING if config.tie_word_embeddings else HEAD,
    }
    if path is None:
        arrays = dict(_converted(sources, config, storage))
        return Conversion(_described(arrays, shapes, storage), place.problem)
    weights = _read(path, notes, shapes, storage)
    if weights is not None:
        return Conversion(weights)
    arrays = dict(_converted(sources, config, storage))
    try:
        _keep(path, arrays, {**notes, kept.MODEL: str(place.model)})
    except OSError as error:
        return Conversion(_described(arrays, shapes, storage), f"{path}: {error.strerror or error}")
    # Read back, they are mapped and share their memory with other processes.
    return Conversion(_read(path, notes, shapes, storage) or _described(arrays, shapes, storage))


def _product_names(config: ModelConfig) -> list[str]:
    shapes = expected_shapes(config)
    return [*(name for name, shape in shapes.items() if is_layer_matrix(name, shape)), HEAD]


def _read(
    path: Path, notes: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]], storage: Kept
) -> dict[str, StoredTensor] | None:
    """Return the weights in a file with these notes, or None if the file cannot be used."""
    try:
        if not notes.items() <= read_metadata(path).items():
            return None
        tensors = read_safetensors(path)
        if {tensor.dtype for tensor in tensors.values()} - KEPT_TYPES[storage]:
            return None
        if storage != "int8":
            return {name: tensors[name] for name in shapes}
        return _described({name: tensor.array for name, tensor in tensors.items()}, shapes, storage)
    except (CheckpointError, KeyError):
        return None


def _keep(path: Path, arrays: Mapping[str, Array], notes: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Another process may be writing the same file.
    with removed_unless_renamed(path.with_name(f"{path.name}.{os.getpid()}")) as own:
        write_safetensors(own, arrays, notes)
        own.replace(path)


def _converted(
    sources: Mapping[str, StoredTensor], config: ModelConfig, storage: Kept
) -> Iterator[tuple[str, Array]]:
    from gpt2cli.checkpoint.gguf.quantized import numbers_of

    # RMSNorm does not centre what it scales, and 8 bits lose too much of the outliers that it leaves.
    in_8_bits = config.architecture.norm == "layer"
    for name, source in sources.items():
        numbers = numbers_of(source)
        if storage == "float32":
            yield name, numbers
        elif storage == "float16":
            with np.errstate(over="ignore"):
                yield name, numbers.astype(np.float16)
        elif storage == "bfloat16":
            yield name, _rounded_to_bfloat16(numbers)
        else:
            panels, scales, totals = _packed(numbers.T if name == HEAD else numbers)
            yield name, panels
            yield name + SCALES, scales
            # The head needs none: its input is rounded to 15 bits, because its logits are compared.
            if name != HEAD and in_8_bits:
                yield name + TOTALS, totals


def _packed(weight: Array) -> tuple[Array, Array, Array]:
    from gpt2cli.ops import kernels

    depth, columns = weight.shape
    padded = -(-columns // kernels.INT8_PANEL_COLUMNS) * kernels.INT8_PANEL_COLUMNS
    panels = np.empty(
        (padded // kernels.INT8_PANEL_COLUMNS, -(-depth // 4), kernels.INT8_PANEL_COLUMNS, 4), np.uint8
    )
    scales, totals = np.empty((2, padded), np.float32)
    kernels.pack_int8(weight, panels, scales, totals)
    return panels, scales, totals


def _rounded_to_bfloat16(numbers: Array) -> Array:
    bits = np.ascontiguousarray(numbers).view(np.uint32)
    # Round to nearest, ties to even, and in place, because a table may take 150 MB.
    rounded = bits >> 16
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits
    rounded >>= 16
    # The sum carries some NaNs into the sign bit.
    rounded[np.isnan(numbers)] = BFLOAT16_NAN
    return rounded.astype(np.uint16)


def _described(
    arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], storage: Kept
) -> dict[str, StoredTensor]:
    if storage != "int8":
        return {name: StoredTensor(STORED_AS[storage], arrays[name]) for name in shapes}
    return {
        name: StoredTensor("U8", arrays[name], arrays[name + SCALES], arrays.get(name + TOTALS), shape)
        for name, shape in shapes.items()
    }
