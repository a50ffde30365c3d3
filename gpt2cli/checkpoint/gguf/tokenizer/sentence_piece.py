"""SentencePiece's BPE in a GGUF file, which gives each token a score instead of listing merges.

Two neighbours are merged wherever they spell a token, the token with the highest score first (Kudo &
Richardson, "SentencePiece", 2018). What no token spells is spelled in bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from gpt2cli.checkpoint.gguf.header import damaged_gguf
from gpt2cli.checkpoint.gguf.tokenizer.entries import BYTE, NORMAL, UNKNOWN, Entries
from gpt2cli.errors import UsageError

SCORES, PREFIX_SPACE = "tokenizer.ggml.scores", "tokenizer.ggml.add_space_prefix"
UNKNOWN_ID = "tokenizer.ggml.unknown_token_id"
# How the space is spelled within tokens.
SPACE = "\u2581"
BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")
PREPEND = {"type": "Prepend", "prepend": SPACE}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}

# SentencePiece's own limit is 16.
LONGEST_TOKEN = 256

Merge = tuple[str, str]


def read_sentence_piece(entries: Entries) -> tuple[dict[str, Any], bool]:
    """Return what a tokenizer.json says of a tokenizer, and whether BOS is put before each text by default.

    Raises:
        CheckpointError: the file is damaged.
    """
    header = entries.header
    scores = header.floats(SCORES, len(entries.tokens))
    if scores is None or len(scores) != len(entries.tokens) or any(map(math.isnan, scores)):
        raise damaged_gguf(header.path, f"{SCORES} is missing, or not a number for each token")
    vocabulary = entries.vocabulary()
    mergeable = {
        token: scores[number] for token, number in vocabulary.items() if entries.kinds[number] == NORMAL
    }
    longest = max(mergeable, key=len, default="")
    if len(longest) > LONGEST_TOKEN:
        raise damaged_gguf(header.path, f"token {vocabulary[longest]} has {len(longest):,} characters")
    unknown = header.value(UNKNOWN_ID, int)
    model = {
        "unk_token": entries.tokens[unknown] if unknown is not None and unknown < len(scores) else None,
        **dict.fromkeys(("fuse_unk", "byte_fallback"), True),
        "ignore_merges": False,
        "vocab": vocabulary,
        "merges": merges_by_score(mergeable, vocabulary),
    }
    prefix = header.value(PREFIX_SPACE, bool) is not False
    parts = {
        "normalizer": _normalizer(prefix),
        "pre_tokenizer": None,
        "decoder": _decoder(prefix),
        "model": model,
    }
    return parts, True


def described_sentence_piece(
    description: Mapping[str, Any], tokens: Sequence[str], kinds: Sequence[int]
) -> tuple[dict[str, Any], list[int]]:
    """Return the values of a header that describe how a tokenizer.json merges, and the kinds of its tokens.

    Raises:
        UsageError: its merges do not follow from scores.
    """
    model = description["model"]
    unknown = model["vocab"].get(model.get("unk_token"))
    kinds = [_kind(token, kind) for token, kind in zip(tokens, kinds, strict=True)]
    if unknown is not None:
        kinds[unknown] = UNKNOWN
    merges = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in model["merges"]]
    order = _distinct("".join(merge) for merge in merges)
    scores = {token: -float(rank) for rank, token in enumerate(order)}
    mergeable = {
        token: scores.get(token, -math.inf)
        for token, kind in zip(tokens, kinds, strict=True)
        if kind == NORMAL
    }
    made = merges_by_score(mergeable, model["vocab"])
    if _by_token(made) != _by_token(merges):
        raise UsageError(
            "The merges of this model's tokenizer do not follow from scores, as GGUF files need them.",
            "Use `output` FOLDER for safetensors.",
        )
    values = {
        # Tokens that no merge makes are met as they are.
        SCORES: [scores.get(token, 0.0) for token in tokens],
        PREFIX_SPACE: PREPEND in description["normalizer"]["normalizers"],
        **({} if unknown is None else {UNKNOWN_ID: unknown}),
    }
    return values, kinds


def is_sentence_piece(description: Mapping[str, Any]) -> bool:
    """Return whether a tokenizer.json spells spaces and unknown characters as GGUF files of this kind do."""
    model, normalizer = description["model"], description["normalizer"] or {}
    steps = normalizer.get("normalizers", [])
    return bool(model.get("byte_fallback")) and steps in ([PREPEND, REPLACE], [REPLACE])


def merges_by_score(scores: Mapping[str, float], vocabulary: Mapping[str, int]) -> list[Merge]:
    """Return all merges of two tokens that make one of `scores`, those of the highest score first."""
    merges = [
        (-score, vocabulary[token], vocabulary[token[:cut]], (token[:cut], token[cut:]))
        for token, score in scores.items()
        for cut in range(1, len(token))
        if token[:cut] in vocabulary and token[cut:] in vocabulary
    ]
    return [merge for *_, merge in sorted(merges)]


def _kind(token: str, kind: int) -> int:
    return BYTE if kind == NORMAL and BYTE_TOKEN.fullmatch(token) else kind


def _distinct(tokens: Iterable[str]) -> list[str]:
    return [token for token, _ in groupby(tokens)]


def _by_token(merges: Sequence[Any]) -> list[tuple[str, set[Any]]]:
    return [(token, set(same)) for token, same in groupby(merges, "".join)]


def _normalizer(prefix: bool) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": [PREPEND, REPLACE] if prefix else [REPLACE]}


def _decoder(prefix: bool) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}
