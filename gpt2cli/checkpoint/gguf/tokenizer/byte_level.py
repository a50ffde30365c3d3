"""Byte-level BPE in a GGUF file, which lists its merges and names how it splits text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpt2cli.checkpoint.gguf.header import damaged_gguf, unsupported_gguf
from gpt2cli.checkpoint.gguf.tokenizer.entries import Entries
from gpt2cli.checkpoint.gguf.tokenizer.splitting import SPLITTINGS, Splitting, splitting_named
from gpt2cli.errors import UsageError

PRE, MERGES = "tokenizer.ggml.pre", "tokenizer.ggml.merges"
# The most merges in use have 2.2 times as many merges as tokens.
MOST_MERGES = 16


def read_byte_level(entries: Entries) -> tuple[dict[str, Any], bool]:
    """Return what a tokenizer.json says of a tokenizer, and whether BOS is put before each text by default.

    Raises:
        CheckpointError: the file is damaged, or text is split in an unknown way.
    """
    header = entries.header
    pre = header.value(PRE, str)
    splitting = splitting_named(pre)
    if splitting is None:
        known = ", ".join(str(known.names[0]) for known in SPLITTINGS)
        raise unsupported_gguf(
            header.path, f"splits text in the way {pre!r}, which is not known", f"Known are {known}."
        )
    merges = header.strings(MERGES, MOST_MERGES * len(entries.tokens))
    if merges is None:
        raise damaged_gguf(header.path, f"{MERGES} is missing")
    vocabulary = entries.vocabulary()
    model = {
        "unk_token": None,
        **dict.fromkeys(("fuse_unk", "byte_fallback"), False),
        "ignore_merges": splitting.ignore_merges,
        "vocab": vocabulary,
        "merges": _split_merges(entries, merges, vocabulary),
    }
    decoder = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    parts = {"normalizer": None, "pre_tokenizer": splitting.pre_tokenizer, "decoder": decoder, "model": model}
    return parts, splitting.adds_bos


def described_byte_level(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a header that describe how a tokenizer.json splits and merges.

    Raises:
        UsageError: GGUF files have no name for how the tokenizer splits text.
    """
    merges = [
        merge if isinstance(merge, str) else " ".join(merge) for merge in description["model"]["merges"]
    ]
    return {PRE: _splitting_of(description).names[0], MERGES: merges}


def _splitting_of(description: Mapping[str, Any]) -> Splitting:
    ignores = bool(description["model"].get("ignore_merges"))
    for splitting in SPLITTINGS:
        if splitting.is_written_as(description["pre_tokenizer"]) and splitting.ignore_merges == ignores:
            return splitting
    raise UsageError(
        "GGUF files have no name for how the tokenizer of this model splits text.",
        "Use `output` FOLDER for safetensors.",
    )


def _split_merges(
    entries: Entries, merges: Sequence[str], vocabulary: Mapping[str, int]
) -> list[tuple[str, str]]:
    pairs = []
    for number, merge in enumerate(merges):
        # A space within a token is spelled with another symbol.
        left, _, right = merge.partition(" ")
        if not {left, right, left + right} <= vocabulary.keys():
            raise damaged_gguf(entries.header.path, f"merge {number} makes no token")
        pairs.append((left, right))
    return pairs
