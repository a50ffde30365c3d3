"""The weights of a checkpoint under their canonical names, strict about names and shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.foreign.misfit import find_misfit
from gpt2cli.checkpoint.foreign.stored_names import SortedNames, StoredNames, few
from gpt2cli.checkpoint.formats.safetensors import read_safetensors
from gpt2cli.checkpoint.roles import HEAD, LAYER_ROLES, LAYERS, POSITION_EMBEDDING, TABLES, TOKEN_EMBEDDING
from gpt2cli.ops.operations import StoredTensor
from gpt2cli.ops.torch_extra import torch_needed_by

# Receives one line that the user should read.
Note: TypeAlias = Callable[[str], None]
# A head that was trained apart differs from the embedding in every row.
COMPARED_ROWS = 64


def no_note(text: str) -> None:
    """Receive a note and drop it."""


def load_weights(files: Sequence[Path], config: ModelConfig, note: Note = no_note) -> dict[str, StoredTensor]:
    """Return the weights of a checkpoint under their canonical names, and note what else is in the files.

    Safetensors files are memory-mapped: nothing is read or copied until it is used. A tied head is returned
    only if it differs from the embedding.

    Raises:
        CheckpointError: a file is damaged, or names or shapes differ from what the config asks for;
            the message names some of them.
        Error: a file is pickled, which needs PyTorch, and it is not installed.
    """
    tensors = {name: tensor for path in files for name, tensor in read_tensors(path).items()}
    shapes = expected_shapes(bounded_layers(config, len(tensors)))
    names = StoredNames(config.architecture, (*shapes, HEAD)).sort(tensors)
    facts = config.architecture
    stored = {
        canonical: _as_in_out(tensors[name]) if facts.out_in and canonical not in TABLES else tensors[name]
        for canonical, name in names.weights.items()
    }
    if HEAD in stored and TOKEN_EMBEDDING not in stored and config.tie_word_embeddings:
        stored[TOKEN_EMBEDDING] = stored.pop(HEAD)
    elif config.tie_word_embeddings:
        drop_repeated_head(stored)
    where = few([str(path) for path in files], 1)
    if HEAD in stored:
        shapes[HEAD] = (config.vocab_size, config.n_embd)
    if misfit := find_misfit(where, names, stored, shapes, config):
        raise misfit
    for text in _oddities(names, HEAD in stored and config.tie_word_embeddings):
        note(f"{where}: {text}.")
    return stored


def bounded_layers(config: ModelConfig, tensors: int) -> ModelConfig:
    """Return a config with no more layers than so many tensors show to be too many."""
    return replace(config, n_layer=min(config.n_layer, tensors + 1))


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight of a model; matrices are (in, out), tables (rows, width)."""
    facts, width = config.architecture, config.n_embd
    shapes: dict[str, tuple[int, ...]] = {TOKEN_EMBEDDING: (config.vocab_size, width)}
    if facts.learned_positions:
        shapes[POSITION_EMBEDDING] = (facts.position_offset + config.n_positions, width)
    for layer in range(config.n_layer):
        for role in LAYER_ROLES:
            if role in facts.weight_names:
                shapes |= _weight_and_bias(config, f"{LAYERS}{layer}.", role)
    if "final_norm" in facts.weight_names:
        shapes |= _weight_and_bias(config, "", "final_norm")
    if not config.tie_word_embeddings:
        shapes[HEAD] = (config.vocab_size, width)
    return shapes


def drop_repeated_head(weights: dict[str, StoredTensor]) -> None:
    """Remove a head that is the embedding again."""
    head, embedding = weights.get(HEAD), weights.get(TOKEN_EMBEDDING)
    if head and embedding and _have_same_rows(head, embedding):
        del weights[HEAD]


def read_tensors(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a safetensors file, or of one that PyTorch pickled, under the names in it.

    Raises:
        CheckpointError: the file is damaged.
        Error: it is pickled, and PyTorch is not installed.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    # Only this old format needs PyTorch, which is slow to import.
    with torch_needed_by(str(path)):
        from gpt2cli.checkpoint.formats.pickle_file import read_pickle

    return read_pickle(path)


def _as_in_out(tensor: StoredTensor) -> StoredTensor:
    """Return a matrix that is stored as (out, in) as a view of the shape (in, out)."""
    return replace(tensor, array=tensor.array.T, read_rows=None) if tensor.array.ndim == 2 else tensor


def _have_same_rows(first: StoredTensor, second: StoredTensor) -> bool:
    if (first.dtype, first.shape) != (second.dtype, second.shape) or not first.array.size or not first.shape:
        return False
    rows = np.linspace(0, len(first.array) - 1, COMPARED_ROWS).astype(np.int64)
    return first.array[rows].tobytes() == second.array[rows].tobytes()


def _oddities(names: SortedNames, has_own_head: bool) -> Iterator[str]:
    if names.wrappers:
        yield f"the prefix {few(names.wrappers)} is dropped from the names of the weights"
    if names.extras:
        yield f"leaving out {few(names.extras)}, which a language model does not use"
    if has_own_head:
        yield "the head differs from the embedding, so it is used although config.json ties them"


def _weight_and_bias(config: ModelConfig, where: str, role: str) -> dict[str, tuple[int, ...]]:
    facts, width, inner = config.architecture, config.n_embd, config.inner_width
    queries, keys = config.n_head * config.head_width, config.kv_heads * config.head_width
    shapes: dict[str, tuple[int, ...]] = {
        "attention_qkv": (width, queries + 2 * keys),
        "attention_q": (width, queries),
        "attention_k": (width, keys),
        "attention_v": (width, keys),
        "attention_output": (queries, width),
        "mlp_gate": (width, inner),
        "mlp_in": (width, inner),
        "mlp_out": (inner, width),
    }
    shape = shapes.get(role, (width,))
    is_biased = (
        role in facts.biased and role not in config.unbiased if role in shapes else facts.norm == "layer"
    )
    pair = {f"{where}{role}.weight": shape}
    return {**pair, f"{where}{role}.bias": shape[-1:]} if is_biased else pair
