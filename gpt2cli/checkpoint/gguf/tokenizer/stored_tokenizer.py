"""A tokenizer in the header of a GGUF file, and the same as a tokenizer.json."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from gpt2cli.checkpoint.gguf.description import BOS, EOS
from gpt2cli.checkpoint.gguf.header import GgufHeader, damaged_gguf, unsupported_gguf
from gpt2cli.checkpoint.gguf.tokenizer.splitting import SPLITTINGS, Splitting, splitting_named
from gpt2cli.errors import UsageError

MODEL, BYTE_LEVEL_BPE = "tokenizer.ggml.model", "gpt2"
PRE, TOKENS, MERGES = "tokenizer.ggml.pre", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"
TYPES, ADD_BOS = "tokenizer.ggml.token_type", "tokenizer.ggml.add_bos_token"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = range(1, 6)
# What the converters of llama.cpp call ids that the model has and its tokenizer has not.
PADDING = re.compile(r"\[PAD\d+\]")
# The most merges in use have 2.2 times as many merges as tokens.
MOST_MERGES = 16


def tokenizer_json(header: GgufHeader, vocab_size: int) -> str:
    """Return the tokenizer of a GGUF file as a tokenizer.json.

    Raises:
        CheckpointError: the file has none, or one that is damaged or of an unsupported kind.
    """
    path = header.path
    model = header.value(MODEL, str)
    if model != BYTE_LEVEL_BPE:
        hint = f"Only byte-level BPE can be read, which GGUF files call {BYTE_LEVEL_BPE}."
        raise unsupported_gguf(path, f"has a tokenizer of the kind {model!r}", hint)
    pre = header.value(PRE, str)
    splitting = splitting_named(pre)
    if splitting is None:
        known = ", ".join(str(known.names[0]) for known in SPLITTINGS)
        raise unsupported_gguf(
            path, f"splits text in the way {pre!r}, which is not known", f"Known are {known}."
        )
    tokens = header.strings(TOKENS, vocab_size)
    types = header.numbers(TYPES, vocab_size) or [NORMAL] * vocab_size
    merges = header.strings(MERGES, MOST_MERGES * vocab_size)
    if tokens is None or merges is None:
        raise damaged_gguf(path, f"{MERGES if tokens else TOKENS} is missing")
    if not len(tokens) == len(types) == vocab_size:
        raise damaged_gguf(
            path, f"it has {len(tokens):,} tokens, {len(types):,} types and {vocab_size:,} embeddings"
        )
    ends = {header.value(key, int) for key in (BOS, EOS)}
    added = [_added_token(number, tokens[number], kind) for number, kind in _added(types, ends)]
    vocabulary = _vocabulary(header, tokens, types)
    return _written(
        splitting, vocabulary, _split_merges(header, merges, vocabulary), added, _bos(header, tokens)
    )


def described_tokenizer(tokenizer: str, vocab_size: int, bos: int | None, eos: int | None) -> dict[str, Any]:
    """Return the values for the header of a GGUF file that describe a tokenizer.json.

    Raises:
        UsageError: GGUF files have no name for how the tokenizer works.
    """
    description = json.loads(tokenizer)
    model = description["model"]
    splitting = _splitting_of(description)
    vocabulary: dict[str, int] = model["vocab"]
    tokens = [f"[PAD{number}]" for number in range(vocab_size)]
    types = [UNUSED] * vocab_size
    kinds = dict.fromkeys(vocabulary.items(), NORMAL)
    for token in description["added_tokens"]:
        kinds[token["content"], token["id"]] = CONTROL if token["special"] else USER_DEFINED
    for (content, number), kind in kinds.items():
        if number < vocab_size:
            tokens[number], types[number] = content, kind
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return {
        MODEL: BYTE_LEVEL_BPE,
        PRE: splitting.names[0],
        TOKENS: tokens,
        TYPES: types,
        MERGES: merges,
        **{key: number for key, number in ((BOS, bos), (EOS, eos)) if number is not None},
        ADD_BOS: _puts_bos_first(description),
    }


def _splitting_of(description: Mapping[str, Any]) -> Splitting:
    model, pre_tokenizer = description["model"], description["pre_tokenizer"]
    unusual = [
        name
        for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
        if model.get(name)
    ]
    if model["type"] != "BPE" or unusual or description["normalizer"] is not None:
        raise UsageError(
            "GGUF files can hold the tokenizer of this model only if it is plain byte-level BPE.",
            "Use `output` FOLDER for safetensors.",
        )
    ignores = bool(model.get("ignore_merges"))
    for splitting in SPLITTINGS:
        if splitting.is_written_as(pre_tokenizer) and splitting.ignore_merges == ignores:
            return splitting
    raise UsageError(
        "GGUF files have no name for how the tokenizer of this model splits text.",
        "Use `output` FOLDER for safetensors.",
    )


def _puts_bos_first(description: Mapping[str, Any]) -> bool:
    """Return whether the tokenizer puts a special token before each text."""
    processor = description["post_processor"] or {}
    steps = [processor, *processor.get("processors", ())]
    return any("SpecialToken" in step["single"][0] for step in steps if step.get("single"))


def _added(types: Sequence[int], ends: Collection[int | None]) -> Iterator[tuple[int, int]]:
    for number, kind in enumerate(types):
        if kind in (UNKNOWN, CONTROL, USER_DEFINED):
            yield number, kind
        elif number in ends:
            # Files without types have them too.
            yield number, CONTROL


def _added_token(number: int, content: str, kind: int) -> dict[str, Any]:
    rules = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, **rules, "special": kind != USER_DEFINED}


def _vocabulary(header: GgufHeader, tokens: Sequence[str], types: Sequence[int]) -> dict[str, int]:
    vocabulary: dict[str, int] = {}
    for number, (token, kind) in enumerate(zip(tokens, types, strict=True)):
        if kind == UNUSED and PADDING.fullmatch(token):
            continue
        if token in vocabulary:
            raise damaged_gguf(header.path, f"tokens {vocabulary[token]} and {number} are the same")
        vocabulary[token] = number
    return vocabulary


def _split_merges(
    header: GgufHeader, merges: Sequence[str], vocabulary: Mapping[str, int]
) -> list[tuple[str, str]]:
    pairs = []
    for number, merge in enumerate(merges):
        # A space within a token is spelled with another symbol.
        left, _, right = merge.partition(" ")
        if not {left, right, left + right} <= vocabulary.keys():
            raise damaged_gguf(header.path, f"merge {number} makes no token")
        pairs.append((left, right))
    return pairs


def _bos(header: GgufHeader, tokens: Sequence[str]) -> tuple[str, int] | None:
    """Return the token that is put before each text, or None."""
    wanted, number = header.value(ADD_BOS, bool), header.value(BOS, int)
    splitting = splitting_named(header.value(PRE, str))
    if wanted is None:
        wanted = splitting is not None and splitting.adds_bos
    return (tokens[number], number) if wanted and number is not None and number < len(tokens) else None


def _written(
    splitting: Splitting,
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    added: Sequence[Mapping[str, Any]],
    bos: tuple[str, int] | None,
) -> str:
    model = {
        "type": "BPE",
        **dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")),
        **dict.fromkeys(("fuse_unk", "byte_fallback"), False),
        "ignore_merges": splitting.ignore_merges,
        "vocab": vocabulary,
        "merges": merges,
    }
    description = {
        "version": "1.0",
        **dict.fromkeys(("truncation", "padding")),
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": splitting.pre_tokenizer,
        "post_processor": _template(*bos) if bos else None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": model,
    }
    return json.dumps(description, ensure_ascii=False)


def _template(token: str, number: int) -> dict[str, Any]:
    first = {"SpecialToken": {"id": token, "type_id": 0}}
    text, pair = ({"Sequence": {"id": name, "type_id": kind}} for kind, name in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text, pair],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
    }
