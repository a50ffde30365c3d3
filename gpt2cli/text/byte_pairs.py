"""Ids of short texts, read from a tokenizer.json without the library, which is slow to open it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain, pairwise, takewhile
from pathlib import Path
from typing import Any

from gpt2cli.checkpoint.companions.tokenizer_config import TokenizerConfig

# A vocabulary spells each byte as one visible character: the byte's character if it is visible, else one
# from U+0100 up. The order is that of GPT-2's first 256 ids (bytes_to_unicode in src/encoder.py of
# openai/gpt-2).
_VISIBLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]
BYTE_OF_SYMBOL = {chr(byte): byte for byte in _VISIBLE} | {
    chr(256 + n): byte for n, byte in enumerate(_HIDDEN)
}
SYMBOL_OF_BYTE = {byte: symbol for symbol, byte in BYTE_OF_SYMBOL.items()}

# GPT-2's pattern (src/encoder.py in openai/gpt-2) for ASCII, where Python's \s would match more.
_WORD = re.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^ \t-\rA-Za-z0-9]+|[ \t-\r]+(?![^ \t-\r])|[ \t-\r]+"
)
# The time to encode a word grows with the square of its length.
_LONGEST_WORD = 64
_NEVER = 1 << 32
# Each text is searched for each of them.
_MOST_ADDED_TOKENS = 16

# What follows a key of an object.
_ID = re.compile(rb"\s*:\s*(\d+)")
_OBJECT = re.compile(rb"\s*:\s*\{")
_LIST = re.compile(rb"\s*:\s*\[")
# A vocabulary begins with the tokens of the bytes, among which there may be some special tokens.
_TOKEN = rb'\s*"(?:[^"\\]|\\.)+"\s*:\s*\d+'
_FIRST_TOKENS = re.compile(rb"(?:%b\s*,){255,319}%b" % (_TOKEN, _TOKEN))
_VOCABULARY_END = re.compile(rb"\}\s*,\s*\Z")
_MERGES_END = re.compile(rb"\]\s*\}\s*\}\s*\Z")
_LONGEST_END = 64
_LAST_ID = re.compile(rb":\s*(\d+)\s*\Z")


class BytePairs:
    """An encoder of short ASCII texts and a decoder of ids; None from either means that only the library can.

    `leading_ids` are the special tokens that belong before a text.

    Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units" (2016).
    """

    def __init__(
        self,
        vocabulary: bytes,
        merges: bytes,
        first: Mapping[str, int],
        added: Mapping[str, bool],
        added_ids: Mapping[str, int | None],
        leading_ids: Sequence[int],
    ) -> None:
        self.leading_ids = leading_ids
        self._vocabulary = vocabulary
        self._merges_json = merges
        self._ids: dict[str, int | None] = {**first, **added_ids}
        self._first = {token_id: token for token, token_id in first.items()}
        # Maps each added token to whether it is special.
        self._added = added
        self._added_by_id = {self.find_id(content): content for content in added}

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Return the texts of the special tokens."""
        return tuple(content for content, is_special in self._added.items() if is_special)

    def encode(self, text: str, special: bool) -> list[int] | None:
        """Return the ids of text, or None; special tokens in it are plain text unless `special` is true."""
        if not text.isascii() or any(
            content in text for content, is_special in self._added.items() if special or not is_special
        ):
            return None
        words = _WORD.findall(text)
        if max(map(len, words), default=0) > _LONGEST_WORD or self._merges is None:
            return None
        tokens = [token for word in words for token in self._merge_word(word.translate(SYMBOL_OF_BYTE))]
        ids = [token_id for token_id in map(self.find_id, tokens) if token_id is not None]
        return ids if len(ids) == len(tokens) else None

    def token_bytes(self, token_id: int) -> bytes | None:
        """Return the bytes of an id, or None."""
        if token_id in self._added_by_id:
            return self._added_by_id[token_id].encode()
        token = self._first.get(token_id) or self._made_as(token_id)
        if token is None or not all(symbol in BYTE_OF_SYMBOL for symbol in token):
            return None
        return bytes(map(BYTE_OF_SYMBOL.__getitem__, token))

    def find_id(self, token: str) -> int | None:
        """Return the id of a token, spelled in the vocabulary's symbols, or None if there is none."""
        if token not in self._ids:
            self._ids[token] = self._search(token)
        return self._ids[token]

    def is_word(self, token_id: int) -> bool | None:
        """Return whether an id is a byte or what merges make of bytes, or None."""
        if token_id in self._added_by_id:
            return False
        token = self._first.get(token_id) or self._made_as(token_id)
        return None if token is None else all(symbol in BYTE_OF_SYMBOL for symbol in token)

    def _search(self, token: str) -> int | None:
        return _find_id(self._vocabulary, token)

    def _made_as(self, token_id: int) -> str | None:
        """Return the token that a merge makes, or None unless the merges are in the order of their ids."""
        merges = self._merges or ()
        first_id = self.find_id(_joined(merges[0])) if merges else None
        rank = -1 if first_id is None else token_id - first_id
        if not 0 <= rank < len(merges):
            return None
        token = _joined(merges[rank])
        return token if self.find_id(token) == token_id else None

    def _merge_word(self, word: str) -> list[str]:
        tokens = list(word)
        while len(tokens) > 1:
            ranks = [self._ranks.get(f"{left} {right}", _NEVER) for left, right in pairwise(tokens)]
            lowest = min(ranks)
            if lowest == _NEVER:
                break
            place = ranks.index(lowest)
            tokens[place : place + 2] = [tokens[place] + tokens[place + 1]]
        return tokens

    @cached_property
    def _merges(self) -> Sequence[str] | None:
        try:
            merges = json.loads(self._merges_json)
            # Older files store each merge as one string.
            return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
        except (ValueError, TypeError):
            # The library reports what is wrong with them.
            return None

    @cached_property
    def _ranks(self) -> Mapping[str, int]:
        return {merge: rank for rank, merge in enumerate(self._merges or ())}


def open_byte_pairs(path: Path, told: TokenizerConfig | None = None) -> BytePairs | None:
    """Return an encoder for a tokenizer.json, or None if it or the files beside it ask for more than GPT-2's.

    The files beside it may make its tokens special, but not add any.
    """
    try:
        return _read(path.read_bytes(), told or TokenizerConfig())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        # The library reports what is wrong with it.
        return None


def _read(data: bytes, told: TokenizerConfig) -> BytePairs | None:
    vocabulary = _find_key(data, b'"vocab"', _OBJECT)
    merges = vocabulary and _find_key(data, b'"merges"', _LIST, vocabulary.end())
    if not vocabulary or not merges:
        return None
    key = merges.start() - len(b'"merges"')
    vocabulary_end = _VOCABULARY_END.search(data, max(key - _LONGEST_END, 0), key)
    merges_end = _MERGES_END.search(data, max(len(data) - _LONGEST_END, merges.end()))
    first = _FIRST_TOKENS.match(data, vocabulary.end())
    if not vocabulary_end or not merges_end or not first:
        return None
    rest = json.loads(
        data[: vocabulary.end()] + data[vocabulary_end.start() : merges.end()] + data[merges_end.start() :]
    )
    if not _is_plain(rest, told.prefix_space):
        return None
    entries = data[vocabulary.end() : vocabulary_end.start()]
    tokens = json.loads(b"{" + first[0] + b"}")
    added = {token["content"]: token["special"] for token in rest["added_tokens"]}
    more = {token.content for token in told.tokens} - added.keys()
    if not tokens.keys() >= BYTE_OF_SYMBOL.keys() or len(added) + len(more) > _MOST_ADDED_TOKENS:
        return None
    ids = {content: _find_id(entries, content) for content in (*added, *more)}
    if any(ids[content] is None for content in more):
        return None
    for token in told.tokens:
        added[token.content] = token.special or added.get(token.content, False)
    return BytePairs(
        entries,
        data[merges.end() - 1 : merges_end.start() + 1],
        tokens,
        added,
        ids
        | _ids_beyond(entries, [token for token in rest["added_tokens"] if ids[token["content"]] is None]),
        _leading_ids(rest.get("post_processor")),
    )


def _ids_beyond(vocabulary: bytes, added: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the ids of tokens outside the vocabulary if they follow it, where the library has them too."""
    last = _LAST_ID.search(vocabulary, max(len(vocabulary) - _LONGEST_END, 0))
    ids = {token["content"]: token["id"] for token in added}
    first = int(last[1]) + 1 if last else -1
    return ids if list(ids.values()) == list(range(first, first + len(ids))) else {}


def _leading_ids(post_processor: Mapping[str, Any] | None) -> list[int]:
    """Return the ids of the special tokens that a tokenizer.json puts before a text."""
    if post_processor is None or post_processor["type"] == "ByteLevel":
        return []
    # Anything else than a template raises, and is the library's.
    names = [entry.get("SpecialToken") for entry in post_processor["single"]]
    before = takewhile(lambda name: name is not None, names)
    ids = [post_processor["special_tokens"][name["id"]]["ids"] for name in before]
    if sum(map(len, ids)) > _MOST_ADDED_TOKENS:
        raise ValueError("few words stand for very many tokens")
    return list(chain.from_iterable(ids))


def _find_id(vocabulary: bytes, token: str) -> int | None:
    found = _find_key(vocabulary, json.dumps(token, ensure_ascii=False).encode(), _ID)
    return int(found[1]) if found else None


def _joined(merge: str) -> str:
    return merge.replace(" ", "")


def _find_key(data: bytes, key: bytes, then: re.Pattern[bytes], start: int = 0) -> re.Match[bytes] | None:
    """Return what follows a JSON key, which is given with its quotation marks."""
    at = data.find(key, start)
    while at >= 0:
        found = then.match(data, at + len(key))
        # After a backslash, the quotation mark is part of a longer string.
        if found and data[at - 1 : at] != b"\\":
            return found
        at = data.find(key, at + 1)
    return None


def _is_plain(rest: Mapping[str, Any], prefix_space: bool | None) -> bool:
    model, splitter = rest["model"], rest["pre_tokenizer"]
    options = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
    return (
        (model["type"], model["vocab"], model["merges"]) == ("BPE", {}, [])
        and not any(model.get(option) for option in options)
        and rest["normalizer"] is None
        and splitter["type"] == "ByteLevel"
        and not (splitter["add_prefix_space"] if prefix_space is None else prefix_space)
        and splitter.get("use_regex", True)
    )
