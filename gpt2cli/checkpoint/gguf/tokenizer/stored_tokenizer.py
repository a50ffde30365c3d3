"""A tokenizer in the header of a GGUF file, and the same as a tokenizer.json."""

from __future__ import annotations

import json
from typing import Any

from gpt2cli.checkpoint.gguf.description import BOS, EOS
from gpt2cli.checkpoint.gguf.header import GgufHeader, unsupported_gguf
from gpt2cli.checkpoint.gguf.tokenizer.byte_level import described_byte_level, read_byte_level
from gpt2cli.checkpoint.gguf.tokenizer.entries import (
    ADD_BOS,
    TOKENS,
    TYPES,
    listed,
    puts_bos_first,
    read_entries,
    template,
)
from gpt2cli.checkpoint.gguf.tokenizer.sentence_piece import (
    described_sentence_piece,
    is_sentence_piece,
    read_sentence_piece,
)
from gpt2cli.errors import UsageError, shown

MODEL, BYTE_LEVEL, SENTENCE_PIECE = "tokenizer.ggml.model", "gpt2", "llama"
UNUSUAL = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
MODEL_KEYS = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")
READERS = {BYTE_LEVEL: read_byte_level, SENTENCE_PIECE: read_sentence_piece}


def tokenizer_json(header: GgufHeader, vocab_size: int) -> str:
    """Return the tokenizer of a GGUF file as a tokenizer.json.

    Raises:
        CheckpointError: the file has none, or one that is damaged or of an unsupported kind.
    """
    kind = header.value(MODEL, str)
    if kind not in READERS:
        known = f"Known are {BYTE_LEVEL} (byte-level BPE) and {SENTENCE_PIECE} (SentencePiece's BPE)."
        raise unsupported_gguf(header.path, f"has a tokenizer of the kind {shown(kind)}", known)
    entries = read_entries(header, vocab_size)
    parts, puts_bos = READERS[kind](entries)
    bos = entries.bos(puts_bos)
    # In the order of the library, because the fast path for GPT-2's tokenizer compares texts.
    description = {
        "version": "1.0",
        **dict.fromkeys(("truncation", "padding")),
        "added_tokens": entries.added(),
        "normalizer": parts["normalizer"],
        "pre_tokenizer": parts["pre_tokenizer"],
        "post_processor": template(*bos) if bos else None,
        "decoder": parts["decoder"],
        "model": {"type": "BPE", **dict.fromkeys(MODEL_KEYS), **parts["model"]},
    }
    return json.dumps(description, ensure_ascii=False)


def described_tokenizer(tokenizer: str, vocab_size: int, bos: int | None, eos: int | None) -> dict[str, Any]:
    """Return the values for the header of a GGUF file that describe a tokenizer.json.

    Raises:
        UsageError: GGUF files have no name for how the tokenizer works.
    """
    description = json.loads(tokenizer)
    model = description["model"]
    is_pieces = is_sentence_piece(description)
    is_plain = not model.get("byte_fallback") and description["normalizer"] is None
    if model["type"] != "BPE" or any(map(model.get, UNUSUAL)) or not (is_pieces or is_plain):
        raise UsageError(
            "GGUF files can hold a tokenizer only if it is plain byte-level BPE or SentencePiece's BPE.",
            "Use `output` FOLDER for safetensors.",
        )
    tokens, kinds = listed(description, vocab_size)
    if is_pieces:
        values, kinds = described_sentence_piece(description, tokens, kinds)
    else:
        values = described_byte_level(description)
    return {
        MODEL: SENTENCE_PIECE if is_pieces else BYTE_LEVEL,
        TOKENS: tokens,
        TYPES: kinds,
        **values,
        **{key: number for key, number in ((BOS, bos), (EOS, eos)) if number is not None},
        ADD_BOS: puts_bos_first(description),
    }
