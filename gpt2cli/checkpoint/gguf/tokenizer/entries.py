"""The tokens that a GGUF file lists with their kinds, and the same in a tokenizer.json."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gpt2cli.checkpoint.gguf.description import BOS, EOS
from gpt2cli.checkpoint.gguf.header import GgufHeader, damaged_gguf

TOKENS, TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
ADD_BOS = "tokenizer.ggml.add_bos_token"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
# What the converters of llama.cpp call ids that the model has and its tokenizer has not.
PADDING = re.compile(r"\[PAD\d+\]")


class Entries(NamedTuple):
    """A file's tokens and their kinds, by id."""

    header: GgufHeader
    tokens: Sequence[str]
    kinds: Sequence[int]

    def vocabulary(self) -> dict[str, int]:
        """Return the ids by token, without padding.

        Raises:
            CheckpointError: two tokens are the same.
        """
        vocabulary: dict[str, int] = {}
        for number, (token, kind) in enumerate(zip(self.tokens, self.kinds, strict=True)):
            if kind == UNUSED and PADDING.fullmatch(token):
                continue
            if token in vocabulary:
                raise damaged_gguf(self.header.path, f"tokens {vocabulary[token]} and {number} are the same")
            vocabulary[token] = number
        return vocabulary

    def added(self) -> list[dict[str, Any]]:
        """Return the added tokens of a tokenizer.json."""
        # Files without kinds have ends too.
        ends = {self.header.value(key, int) for key in (BOS, EOS)}
        return [_added_token(number, self.tokens[number], kind) for number, kind in _added(self.kinds, ends)]

    def bos(self, by_default: bool) -> tuple[str, int] | None:
        """Return the token that is put before each text, or None."""
        wanted, number = self.header.value(ADD_BOS, bool), self.header.value(BOS, int)
        if wanted is None:
            wanted = by_default
        if not wanted or number is None or number >= len(self.tokens):
            return None
        return self.tokens[number], number


def read_entries(header: GgufHeader, vocab_size: int) -> Entries:
    """Return the tokens in a header.

    Raises:
        CheckpointError: there are none, or not as many as the model has embeddings.
    """
    tokens = header.strings(TOKENS, vocab_size)
    if tokens is None:
        raise damaged_gguf(header.path, f"{TOKENS} is missing")
    kinds = header.numbers(TYPES, vocab_size) or [NORMAL] * vocab_size
    if not len(tokens) == len(kinds) == vocab_size:
        raise damaged_gguf(
            header.path, f"it has {len(tokens):,} tokens, {len(kinds):,} types and {vocab_size:,} embeddings"
        )
    return Entries(header, tokens, kinds)


def listed(description: Mapping[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    """Return the tokens of a tokenizer.json and their kinds, by id."""
    tokens = [f"[PAD{number}]" for number in range(vocab_size)]
    kinds = [UNUSED] * vocab_size
    vocabulary: dict[str, int] = description["model"]["vocab"]
    found = dict.fromkeys(vocabulary.items(), NORMAL)
    for token in description["added_tokens"]:
        found[token["content"], token["id"]] = CONTROL if token["special"] else USER_DEFINED
    for (content, number), kind in found.items():
        if number < vocab_size:
            tokens[number], kinds[number] = content, kind
    return tokens, kinds


def puts_bos_first(description: Mapping[str, Any]) -> bool:
    """Return whether the tokenizer puts a special token before each text."""
    processor = description["post_processor"] or {}
    steps = [processor, *processor.get("processors", ())]
    return any("SpecialToken" in step["single"][0] for step in steps if step.get("single"))


def template(token: str, number: int) -> dict[str, Any]:
    """Return the post-processor of a tokenizer.json that puts a token before each text."""
    first = {"SpecialToken": {"id": token, "type_id": 0}}
    text, pair = ({"Sequence": {"id": name, "type_id": kind}} for kind, name in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text, pair],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
    }


def _added(kinds: Sequence[int], ends: Collection[int | None]) -> Iterator[tuple[int, int]]:
    for number, kind in enumerate(kinds):
        if kind in (UNKNOWN, CONTROL, USER_DEFINED):
            yield number, kind
        elif number in ends:
            yield number, CONTROL


def _added_token(number: int, content: str, kind: int) -> dict[str, Any]:
    rules = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, **rules, "special": kind != USER_DEFINED}
