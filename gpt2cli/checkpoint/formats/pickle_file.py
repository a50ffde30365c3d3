"""The tensors of a pytorch_model.bin."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpt2cli.checkpoint.formats.mapped_files import watch_mapping
from gpt2cli.errors import CheckpointError
from gpt2cli.ops.operations import StoredTensor

PICKLED_TYPES = {torch.float32: "F32", torch.float16: "F16", torch.float64: "F64"}


def read_pickle(path: Path) -> dict[str, StoredTensor]:
    """Read the tensors of a pytorch_model.bin, without running any code in it.

    Raises:
        CheckpointError: the file is unreadable, or contains more than tensors.
    """
    try:
        stored = {name: _stored(tensor) for name, tensor in _unpickle(path).items()}
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}.") from error
    except Exception as error:
        # The reader can fail in any way on a damaged or foreign file.
        raise CheckpointError(
            f"The weights file {path} is damaged or contains more than tensors.",
            "Convert it to safetensors with the tool that made it.",
        ) from error
    for tensor in stored.values():
        if tensor.array.flags.c_contiguous:
            watch_mapping(path, tensor.array)
    return stored


def _unpickle(path: Path) -> dict[str, Tensor]:
    # PyTorch before 1.6 did not write zip archives, and nothing else can be mapped.
    mappable = zipfile.is_zipfile(path)
    if mappable:
        _require_uncompressed(path)
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True, mmap=mappable)
    if not all(isinstance(name, str) for name in tensors):
        raise TypeError("a name of a tensor is not a text")
    return tensors


def _require_uncompressed(path: Path) -> None:
    # PyTorch maps the compressed bytes, and takes them for numbers.
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise CheckpointError(
                f"The weights file {path} is a compressed archive.",
                "Pack it again without compression, as torch.save does.",
            )


def _stored(tensor: Tensor) -> StoredTensor:
    if tensor.nbytes > tensor.untyped_storage().nbytes():
        raise ValueError("a tensor repeats numbers, and may be of any size")
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return StoredTensor("BF16", _aligned(tensor.view(torch.uint16)))
    if tensor.dtype in PICKLED_TYPES:
        return StoredTensor(PICKLED_TYPES[tensor.dtype], _aligned(tensor))
    return StoredTensor(str(tensor.dtype), np.broadcast_to(np.uint8(0), tensor.shape))


def _aligned(tensor: Tensor) -> np.ndarray[Any, np.dtype[Any]]:
    # Archives of other programs begin tensors at any byte.
    return np.require(tensor.numpy(), requirements=["ALIGNED"])
