"""A checkpoint's matrices in a narrower type, made once and kept for the next start."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.config import ModelConfig
from gpt2cli.errors import CheckpointError
from gpt2cli.ops import Storage, StoredTensor
from gpt2cli.tensor_file import read_metadata, read_safetensors, write_safetensors
from gpt2cli.weights import expected_shapes

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

STORED_AS = {"float16": "F16", "bfloat16": "BF16"}
# Raised whenever the kernels ask for another layout, so that older files are made again.
LAYOUT = "1"
SCALES = ".scales"
HEAD = "lm_head.weight"
MATRIX = re.compile(r"h\.\d+\.(attn|mlp)\.\w+\.weight")
HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class Conversion:
    """Hold the matrices of a model in another type, and why they could not be kept, if so."""

    weights: Mapping[str, StoredTensor]
    problem: str = ""


def convert(
    stored: Mapping[str, StoredTensor], files: Sequence[Path], config: ModelConfig, storage: Storage
) -> Conversion:
    """Return the matrices that a token is multiplied with in the type `storage`, mapped from a kept file.

    A tied head comes under a name of its own, because embeddings stay as they are. The file is made where it
    is missing, and again when the checkpoint's files have changed.
    """
    shapes = _product_shapes(config)
    if all(_source(stored, name).dtype == STORED_AS.get(storage) for name in shapes):
        return Conversion({})
    path, notes = _file_for(files, storage), {"source": identity(files), "layout": LAYOUT, "type": storage}
    if not _is_current(path, notes):
        arrays = dict(_converted(stored, shapes, storage))
        try:
            _keep(path, arrays, {**notes, "model": str(files[0].parent)})
        except OSError as error:
            return Conversion(_described(arrays, shapes, storage), f"{path}: {error.strerror}")
    return Conversion(_described({n: t.array for n, t in read_safetensors(path).items()}, shapes, storage))


def conversions_folder() -> Path:
    """Return the folder of all converted files, where huggingface_hub keeps what other tools derive."""
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME", f"{caches}/huggingface")
    folder = os.environ.get("HF_ASSETS_CACHE", f"{home}/assets")
    return Path(os.path.expandvars(folder)).expanduser().absolute() / "gpt2cli"


def identity(files: Sequence[Path]) -> str:
    """Return a hash that changes with the files: of their places, sizes, times and headers alone."""
    digest = hashlib.sha256()
    for path in files:
        place = path.resolve()
        status = place.stat()
        digest.update(f"{place}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        with place.open("rb") as file:
            digest.update(file.read(HEADER_BYTES))
    return digest.hexdigest()


def _file_for(files: Sequence[Path], storage: Storage) -> Path:
    folder = files[0].parent
    # Of a snapshot in the cache the folder is a commit, whose model is two levels up.
    name = folder.parent.parent.name if folder.parent.name == "snapshots" else folder.name
    place = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:8]
    return conversions_folder() / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}-{place}.{storage}.safetensors"


def _is_current(path: Path, notes: Mapping[str, str]) -> bool:
    try:
        return notes.items() <= read_metadata(path).items()
    except CheckpointError:
        return False


def _keep(path: Path, arrays: Mapping[str, Array], notes: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Another process may be making the same file.
    own = path.with_name(f"{path.name}.{os.getpid()}")
    write_safetensors(own, arrays, notes)
    own.replace(path)


def _product_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    shapes = expected_shapes(config)
    matrices = {name: shape for name, shape in shapes.items() if MATRIX.fullmatch(name)}
    return {**matrices, HEAD: shapes["wte.weight"]}


def _source(stored: Mapping[str, StoredTensor], name: str) -> StoredTensor:
    return stored["wte.weight"] if name not in stored else stored[name]


def _converted(
    stored: Mapping[str, StoredTensor], shapes: Mapping[str, tuple[int, ...]], storage: Storage
) -> Iterator[tuple[str, Array]]:
    for name in shapes:
        numbers = _float32(_source(stored, name))
        if storage == "float16":
            yield name, numbers.astype(np.float16)
        elif storage == "bfloat16":
            yield name, _rounded_to_bfloat16(numbers)
        else:
            panels, scales = _packed(numbers.T if name == HEAD else numbers)
            yield name, panels
            yield name + SCALES, scales


def _packed(weight: Array) -> tuple[Array, Array]:
    from gpt2cli.ops import kernels

    depth, columns = weight.shape
    padded = -(-columns // kernels.PANEL) * kernels.PANEL
    panels = np.empty((padded // kernels.PANEL, -(-depth // 4), kernels.PANEL, 4), np.uint8)
    scales = np.empty(padded, np.float32)
    kernels.pack(weight, panels, scales)
    return panels, scales


def _float32(tensor: StoredTensor) -> Array:
    if tensor.dtype == "BF16":
        return (tensor.array.astype(np.uint32) << 16).view(np.float32)
    return tensor.array.astype(np.float32, copy=False)


def _rounded_to_bfloat16(numbers: Array) -> Array:
    bits = np.ascontiguousarray(numbers).view(np.uint32)
    # To the nearest, and of two equally near to the even one.
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def _described(
    arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], storage: Storage
) -> dict[str, StoredTensor]:
    if storage != "int8":
        return {name: StoredTensor(STORED_AS[storage], arrays[name]) for name in shapes}
    return {
        name: StoredTensor("U8", arrays[name], arrays[name + SCALES], shape) for name, shape in shapes.items()
    }
