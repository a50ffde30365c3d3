"""A model's config as the values in the header of a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.gguf.families import FAMILIES, GgufFamily, family_named, family_of, gguf_name
from gpt2cli.checkpoint.gguf.header import GgufHeader, damaged_gguf, unsupported_gguf
from gpt2cli.checkpoint.roles import HEAD, TOKEN_EMBEDDING
from gpt2cli.errors import CheckpointError, UsageError

ARCHITECTURE = "general.architecture"
BOS, EOS = "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"
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
    try:
        return ModelConfig(
            model_type=family.model_type,
            vocab_size=embedding.shape[0],
            tie_word_embeddings=not _has_own_head(header),
            bos_token_id=header.value(BOS, int),
            eos_token_id=header.value(EOS, int),
            **values,
            **{field: choices[0] for field, choices in family.implied.items()},
        )
    except CheckpointError as error:
        raise damaged_gguf(path, error.message.removeprefix("config.json: ").rstrip(".")) from error


def described(config: ModelConfig, name: str) -> dict[str, Any]:
    """Return the values for the header of a GGUF file that describe a config; `name` is the model's.

    Raises:
        UsageError: the file could not say how the model differs from what its readers assume.
    """
    family = family_of(config.model_type)
    if family is None:
        raise UsageError(f"GGUF files cannot hold a model of the type {config.model_type}.")
    for field, choices in family.implied.items():
        value = getattr(config, field)
        if value not in choices:
            raise UsageError(
                f"GGUF files cannot say that {field} is {value}: their readers assume {choices[0]}.",
                "Use `output` FOLDER for safetensors.",
            )
    widths = {"n_inner": config.inner_width}
    return {
        ARCHITECTURE: family.name,
        "general.name": name,
        **{family.key(field): widths.get(field, getattr(config, field)) for field in family.keys},
    }


def _read_fields(header: GgufHeader, family: GgufFamily) -> Iterator[tuple[str, Any]]:
    for field in family.keys:
        key = family.key(field)
        value = header.values.get(key)
        if type(value) not in (int, float):
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
