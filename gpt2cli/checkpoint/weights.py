"""The weights of a checkpoint by their names, strict about names and shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.safetensors import read_safetensors
from gpt2cli.errors import CheckpointError
from gpt2cli.ops.operations import StoredTensor
from gpt2cli.ops.torch_extra import torch_needed_by

FLOATS = {"F32", "F16", "BF16", "F64"}
TOKENS, POSITIONS, HEAD = "wte.weight", "wpe.weight", "lm_head.weight"
# Of these single rows are read, whatever else they are for.
TABLES = {TOKENS, POSITIONS, HEAD}
MASK_BUFFER = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")


def load_weights(files: Sequence[Path], config: ModelConfig) -> dict[str, StoredTensor]:
    """Return the weights of a checkpoint under their names without the `transformer.` prefix.

    Safetensors files are memory-mapped: nothing is read or copied until it is used.

    Raises:
        CheckpointError: a file is damaged, or names or shapes differ from what the config asks for;
            the message lists all of them.
        Error: a file is pickled, which needs PyTorch, and it is not installed.
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
        TOKENS: (config.vocab_size, width),
        POSITIONS: (config.n_positions, width),
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
        shapes[HEAD] = (config.vocab_size, width)
    return shapes


def _read_file(path: Path) -> dict[str, StoredTensor]:
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    # Only this old format needs torch, whose import is slow.
    with torch_needed_by(str(path)):
        from gpt2cli.checkpoint.pickle_file import read_pickle

    return read_pickle(path)


def _canonical(stored: Mapping[str, StoredTensor], config: ModelConfig) -> dict[str, StoredTensor]:
    named = {name.removeprefix("transformer."): tensor for name, tensor in stored.items()}
    if config.tie_word_embeddings:
        # Some files repeat the tied head.
        named.pop(HEAD, None)
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
        elif stored[name].dtype not in FLOATS:
            yield f"{name} is stored as {stored[name].dtype}, which is not a known number type"
    yield from (f"{name} is unexpected" for name in stored if name not in expected)


def _pair(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[-1:]}
