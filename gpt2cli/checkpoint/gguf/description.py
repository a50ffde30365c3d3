"""A model's config as the values in the header of a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gpt2cli.checkpoint.architecture import Architecture
from gpt2cli.checkpoint.architectures import find_architecture
from gpt2cli.checkpoint.config import COMMON, ModelConfig
from gpt2cli.checkpoint.gguf.families import FAMILIES, GgufFamily, family_named, family_of, gguf_name
from gpt2cli.checkpoint.gguf.header import GgufHeader, damaged_gguf, unsupported_gguf
from gpt2cli.checkpoint.gguf.rotary import described_rotary, read_rotary
from gpt2cli.checkpoint.roles import HEAD, LAYERS, TOKEN_EMBEDDING
from gpt2cli.errors import CheckpointError, UsageError

ARCHITECTURE = "general.architecture"
BOS, EOS = "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"
VALUE_WIDTH, EXPERTS = "attention.value_length", "expert_count"
# Tables of which each may take a gigabyte are compared piece by piece.
CHUNK_BYTES = 1 << 20


def config_of(header: GgufHeader) -> ModelConfig:
    """Return the config that the header describes.

    Raises:
        CheckpointError: the architecture is not supported, or a value is missing or invalid.
    """
    path = header.path
    name = header.value(ARCHITECTURE, str)
    family = family_named(name)
    if family is None:
        known = ", ".join(known.name for known in FAMILIES)
        raise unsupported_gguf(
            path, f"has the architecture {name!r}", f"Architectures that can be read are: {known}."
        )
    embedding = header.tensors.get(gguf_name(TOKEN_EMBEDDING))
    if embedding is None:
        raise damaged_gguf(path, f"{gguf_name(TOKEN_EMBEDDING)} is missing")
    values = dict(_read_fields(header, family))
    # Readers that make a name for each layer must not believe any number.
    if values["n_layer"] > len(header.tensors):
        raise damaged_gguf(path, f"{family.key('n_layer')} is {values['n_layer']:,}")
    if header.values.get(family.key(EXPERTS)):
        raise unsupported_gguf(path, "is a mixture of experts", "Only models without experts can be read.")
    model_type = family.model_types[0]
    facts = find_architecture(model_type)
    assert facts is not None
    values |= {
        "vocab_size": embedding.shape[0],
        "tie_word_embeddings": not _has_own_head(header),
        "bos_token_id": header.value(BOS, int),
        "eos_token_id": header.value(EOS, int),
        **{field: choices[0] for field, choices in family.implied.items()},
    }
    try:
        # Whether the sizes fit together is checked before anything is made of them.
        width = ModelConfig(model_type=model_type, **values).head_width
        biases = {
            key: gguf_name(f"{LAYERS}0.{role}.bias") in header.tensors
            for key, role in family.bias_keys.items()
        }
        return ModelConfig.from_dict(
            {
                "model_type": model_type,
                **_as_in_json(values, facts),
                **read_rotary(header, family, width),
                **biases,
            }
        )
    except CheckpointError as error:
        what = error.message.removeprefix("config.json: ")
        if what == error.message:
            raise
        raise damaged_gguf(path, what.rstrip(".")) from error


def described(config: ModelConfig, name: str) -> dict[str, Any]:
    """Return the values for the header of a GGUF file that describe a config; `name` is the model's.

    Raises:
        UsageError: the file could not say how the model differs from what its readers assume.
    """
    family = family_of(config.model_type)
    if family is None:
        raise UsageError(f"GGUF files cannot hold a model of the type {config.model_type}.")
    if problem := next(_unsaid(config, family), None):
        raise UsageError(f"GGUF files cannot say that {problem}.", "Use `output` FOLDER for safetensors.")
    widths = {"n_inner": config.inner_width, "n_kv_head": config.kv_heads}
    fields = {field: widths.get(field, getattr(config, field)) for field in (*family.keys, *family.optional)}
    values = {family.key(field): value for field, value in fields.items() if value is not None}
    if config.head_dim and "head_dim" in fields:
        values[family.key(VALUE_WIDTH)] = config.head_dim
    if config.rotary:
        values |= described_rotary(config.rotary, family, config.head_width)
    return {ARCHITECTURE: family.name, "general.name": name, **values}


def _as_in_json(values: Mapping[str, Any], facts: Architecture) -> dict[str, Any]:
    keys = {**{name: name for name in COMMON}, "parallel_residual": "use_parallel_residual"}
    keys |= facts.config_keys
    return {keys[field]: value for field, value in values.items() if field in keys}


def _unsaid(config: ModelConfig, family: GgufFamily) -> Iterator[str]:
    for field, choices in family.implied.items():
        if (value := getattr(config, field)) not in choices:
            yield f"{field} is {value}: their readers assume {choices[0]}"
    if config.unbiased and not family.bias_keys:
        yield "matrices of attention have no biases: their readers expect them"
    for window in config.windows:
        if window is not None and window < config.n_positions:
            yield f"layers see {window:,} positions only: their readers let them see all"
    if config.rotary and config.rotary.scaling not in family.scalings:
        yield f"rotary positions are scaled as {config.rotary.scaling}"


def _read_fields(header: GgufHeader, family: GgufFamily) -> Iterator[tuple[str, Any]]:
    for field in (*family.keys, *family.optional):
        key = family.key(field)
        value = header.values.get(key)
        if value is None and field in family.optional:
            continue
        if type(value) not in (int, float, bool):
            raise damaged_gguf(header.path, f"{key} is {'missing' if value is None else 'not a number'}")
        # As text, because a number like 1e-5 is stored in 32 bits.
        yield field, float(str(np.float32(value))) if isinstance(value, float) else value


def _has_own_head(header: GgufHeader) -> bool:
    """Return whether the file has a head that is not the embedding again."""
    head, embedding = (header.tensors.get(gguf_name(name)) for name in (HEAD, TOKEN_EMBEDDING))
    if head is None or embedding is None or head[:2] != embedding[:2]:
        return head is not None
    data, apart = header.data, embedding.begin - head.begin
    return any(
        data[at : min(at + CHUNK_BYTES, head.end)]
        != data[at + apart : min(at + CHUNK_BYTES, head.end) + apart]
        for at in range(head.begin, head.end, CHUNK_BYTES)
    )
