"""GGUF files, written with the library of the format's makers from the models of transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

Array = np.ndarray[Any, np.dtype[Any]]

# The library can write these and not their like with blocks of 256, of which it reads any bytes.
QUANTIZED = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")
K_QUANTIZED = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
PLAIN = ("F32", "F16", "BF16")
# Where the 16-bit scales of a block are.
SCALES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
# What transformers stores as (in, out), and GGUF as (out, in).
TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")


def write_gguf(
    path: Path, model: Any, tokenizer: Path, kind: str = "F32", values: Mapping[str, Any] | None = None
) -> dict[str, Array]:
    """Write a GPT-2 of transformers with its tokenizer.json as llama.cpp's converter does.

    Matrices are stored as `kind`; `values` are added to the header or, where they are None, left out. Returns
    the numbers of each weight as the library reads them, by their names in transformers.
    """
    config = model.config
    header: dict[str, Any] = {
        "gpt2.context_length": config.n_positions,
        "gpt2.embedding_length": config.n_embd,
        "gpt2.feed_forward_length": config.n_inner or 4 * config.n_embd,
        "gpt2.block_count": config.n_layer,
        "gpt2.attention.head_count": config.n_head,
        "gpt2.attention.layer_norm_epsilon": config.layer_norm_epsilon,
        "general.file_type": 0,
        **describe_tokenizer(tokenizer, config.vocab_size),
        **dict(values or {}),
    }
    writer = gguf.GGUFWriter(path, header.pop("general.architecture", "gpt2"))
    for key, value in header.items():
        if value is not None:
            _add(writer, key, value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, config.n_layer)
    numbers = {}
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        is_transposed = name.endswith(TRANSPOSED)
        rows = np.ascontiguousarray(weight.T if is_transposed else weight)
        vector = rows.ndim == 1 or name.endswith("wpe.weight")
        stored, read = store(rows, "F32" if vector else kind)
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert found is not None, name
        writer.add_tensor(found, stored, raw_dtype=Type["F32" if vector else kind])
        numbers[name] = read.T if is_transposed else read
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return numbers


def describe_tokenizer(path: Path, vocab_size: int) -> dict[str, Any]:
    """Return a tokenizer.json as the values of a GGUF header."""
    description = json.loads(path.read_text())
    tokens = {number: (token, NORMAL) for token, number in description["model"]["vocab"].items()}
    for token in description["added_tokens"]:
        tokens[token["id"]] = token["content"], CONTROL if token["special"] else USER_DEFINED
    listed = [tokens.get(number, (f"[PAD{number}]", UNUSED)) for number in range(vocab_size)]
    merges = description["model"]["merges"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [token for token, _ in listed],
        "tokenizer.ggml.token_type": [kind for _, kind in listed],
        "tokenizer.ggml.merges": [merge if isinstance(merge, str) else " ".join(merge) for merge in merges],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
    }


def store(rows: Array, kind: str) -> tuple[Array, Array]:
    """Return rows of numbers as the library stores them, and what it reads from that.

    The library cannot quantize to blocks of 256, so these are random bytes with scales of a usual size.
    """
    if kind in K_QUANTIZED:
        stored = random_blocks(rows.shape, kind)
    else:
        stored = quantize(rows.astype(np.float32), Type[kind])
    return stored, np.asarray(dequantize(stored, Type[kind]), np.float32)


def random_blocks(shape: tuple[int, ...], kind: str) -> Array:
    """Return blocks for a shape whose numbers are neither large nor infinite."""
    block, size = gguf.GGML_QUANT_SIZES[Type[kind]]
    generator = np.random.default_rng(len(kind) + shape[0])
    blocks = generator.integers(0, 256, (*shape[:-1], shape[-1] // block, size), np.uint8)
    for place in SCALES[kind]:
        scales = generator.uniform(0.0005, 0.001, blocks.shape[:-1]).astype(np.float16)
        blocks[..., place : place + 2] = scales[..., np.newaxis].view(np.uint8)
    return blocks.reshape(*shape[:-1], -1)


def load_weights(model: Any, numbers: Mapping[str, Array]) -> None:
    """Give a model of transformers these weights."""
    tensors = {name: torch.tensor(np.ascontiguousarray(array)) for name, array in numbers.items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_uint32(key, value)
