"""Named tensors in safetensors files: memory-mapped, and strict about names and shapes."""

from __future__ import annotations

import json
import math
import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from gpt2cli.config import ModelConfig
from gpt2cli.errors import CheckpointError
from gpt2cli.ops import StoredTensor

# BF16 is read as the integers that hold its bits, because numpy has no such type.
STORED_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}
LENGTH_BYTES = 8
MASK_BUFFER = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")


def load_weights(files: Sequence[Path], config: ModelConfig) -> dict[str, StoredTensor]:
    """Return the weights of a checkpoint under their names without the `transformer.` prefix.

    Safetensors files are memory-mapped: nothing is read or copied until it is used.

    Raises:
        CheckpointError: a file is damaged, or names or shapes differ from what the config asks for;
            the message lists all of them.
    """
    stored: dict[str, StoredTensor] = {}
    for path in files:
        stored.update(_canonical(_read_file(path), config))
    _check(stored, expected_shapes(config), files)
    return stored


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight of a model; matrices are (in, out), as GPT-2 stores them."""
    width, inner = config.n_embd, config.inner_width
    shapes: dict[str, tuple[int, ...]] = {
        "wte.weight": (config.vocab_size, width),
        "wpe.weight": (config.n_positions, width),
    }
    for layer in range(config.n_layer):
        shapes |= {
            **_pair(f"h.{layer}.ln_1", (width,)),
            **_pair(f"h.{layer}.attn.c_attn", (width, 3 * width)),
            **_pair(f"h.{layer}.attn.c_proj", (width, width)),
            **_pair(f"h.{layer}.ln_2", (width,)),
            **_pair(f"h.{layer}.mlp.c_fc", (width, inner)),
            **_pair(f"h.{layer}.mlp.c_proj", (inner, width)),
        }
    shapes |= _pair("ln_f", (width,))
    if not config.tie_word_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, width)
    return shapes


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


def _read_file(path: Path) -> dict[str, StoredTensor]:
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    # Only this old format needs torch, whose import is slow.
    from gpt2cli.ops.torch_ops import read_pickle

    return read_pickle(path)


def _canonical(stored: Mapping[str, StoredTensor], config: ModelConfig) -> dict[str, StoredTensor]:
    named = {name.removeprefix("transformer."): tensor for name, tensor in stored.items()}
    if config.tie_word_embeddings:
        # Some files repeat the tied head.
        named.pop("lm_head.weight", None)
    return {name: tensor for name, tensor in named.items() if not MASK_BUFFER.fullmatch(name)}


def _check(
    stored: Mapping[str, StoredTensor],
    expected: Mapping[str, tuple[int, ...]],
    files: Sequence[Path],
) -> None:
    problems = list(_problems(stored, expected))
    if problems:
        where = ", ".join(str(path) for path in files)
        raise CheckpointError(
            f"{where} does not fit its config.json: {'; '.join(problems)}.",
            "Use the config.json that belongs to these weights.",
        )


def _problems(stored: Mapping[str, StoredTensor], expected: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    for name, shape in expected.items():
        if name not in stored:
            yield f"{name} is missing"
        elif stored[name].array.shape != shape:
            yield f"{name} has shape {list(stored[name].array.shape)}, not {list(shape)}"
        elif stored[name].dtype not in STORED_TYPES:
            yield f"{name} is stored as {stored[name].dtype}, which is not a known number type"
    yield from (f"{name} is unexpected" for name in stored if name not in expected)


def _pair(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[-1:]}
