"""The weights of a checkpoint under their canonical names, strict about names and shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gpt2cli.checkpoint.architectures import Architecture
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.roles import HEAD, LAYERS, POSITION_EMBEDDING, TOKEN_EMBEDDING
from gpt2cli.checkpoint.safetensors import read_safetensors
from gpt2cli.errors import CheckpointError
from gpt2cli.ops.operations import StoredTensor
from gpt2cli.ops.torch_extra import torch_needed_by

FLOATS = {"F32", "F16", "BF16", "F64"}


def load_weights(files: Sequence[Path], config: ModelConfig) -> dict[str, StoredTensor]:
    """Return the weights of a checkpoint under their canonical names.

    Safetensors files are memory-mapped: nothing is read or copied until it is used.

    Raises:
        CheckpointError: a file is damaged, or names or shapes differ from what the config asks for;
            the message lists all of them.
        Error: a file is pickled, which needs PyTorch, and it is not installed.
    """
    architecture, expected = config.architecture, expected_shapes(config)
    names = {architecture.bare_name(name): name for name in (*expected, HEAD)}
    found = {
        name.removeprefix(architecture.prefix): tensor
        for path in files
        for name, tensor in _read_file(path).items()
    }
    stored = {names[name]: tensor for name, tensor in found.items() if name in names}
    if HEAD not in expected:
        # Some files repeat the tied head.
        stored.pop(HEAD, None)
    problems = list(_problems(stored, expected, architecture))
    others = [name for name in found if name not in names and not re.fullmatch(architecture.buffers, name)]
    problems += [f"{name} is unexpected" for name in others]
    if problems:
        raise _misfit(files, problems)
    return stored


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight of a model; matrices are (in, out), as GPT-2 stores them."""
    width, inner = config.n_embd, config.inner_width
    shapes: dict[str, tuple[int, ...]] = {
        TOKEN_EMBEDDING: (config.vocab_size, width),
        POSITION_EMBEDDING: (config.n_positions, width),
    }
    for layer in range(config.n_layer):
        shapes |= {
            **_pair(f"{LAYERS}{layer}.attention_norm", (width,)),
            **_pair(f"{LAYERS}{layer}.attention_qkv", (width, 3 * width)),
            **_pair(f"{LAYERS}{layer}.attention_output", (width, width)),
            **_pair(f"{LAYERS}{layer}.mlp_norm", (width,)),
            **_pair(f"{LAYERS}{layer}.mlp_in", (width, inner)),
            **_pair(f"{LAYERS}{layer}.mlp_out", (inner, width)),
        }
    shapes |= _pair("final_norm", (width,))
    if not config.tie_word_embeddings:
        shapes[HEAD] = (config.vocab_size, width)
    return shapes


def _read_file(path: Path) -> dict[str, StoredTensor]:
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    # Only this old format needs PyTorch, which is slow to import.
    with torch_needed_by(str(path)):
        from gpt2cli.checkpoint.pickle_file import read_pickle

    return read_pickle(path)


def _problems(
    stored: Mapping[str, StoredTensor], expected: Mapping[str, tuple[int, ...]], architecture: Architecture
) -> Iterator[str]:
    for name, shape in expected.items():
        problem = _problem(stored.get(name), shape)
        if problem:
            yield f"{architecture.bare_name(name)} {problem}"


def _problem(tensor: StoredTensor | None, shape: tuple[int, ...]) -> str:
    if tensor is None:
        return "is missing"
    if tensor.array.shape != shape:
        return f"has shape {list(tensor.array.shape)}, not {list(shape)}"
    if tensor.dtype not in FLOATS:
        return f"is stored as {tensor.dtype}, which is not supported"
    return ""


def _misfit(files: Sequence[Path], problems: Sequence[str]) -> CheckpointError:
    where = ", ".join(str(path) for path in files)
    return CheckpointError(
        f"{where} does not match its config.json: {'; '.join(problems)}.",
        "Use the config.json that belongs to these weights.",
    )


def _pair(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[-1:]}
