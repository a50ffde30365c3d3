"""Ids of much text, by the fast library, where it gives the ids of the slow one."""

from __future__ import annotations

import json
import os
import re
from array import array
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2cli.text.text_blocks import text_parts

if TYPE_CHECKING:
    import tokenizers

# Made by tests/disputed_code_points.py.
DISPUTED_CODE_POINTS = Path(__file__).parents[1] / "data" / "gpt2" / "disputed_code_points.txt"

# The library remembers every word that it ever met; a fresh one has forgotten them.
_MEMORY_BYTES = 48 << 20
_CHECK_BYTES = 1 << 20
# Where the system does not tell how much memory is in use: new words take ten times their length.
_WORDS_BYTES = 8 << 20
# Short, so that a rare character slows only what stands around it.
_PART_LENGTH = 1024
_OWN_TOKEN_RULES = ("single_word", "lstrip", "rstrip")
_PLAIN_MODEL = {
    "type": "BPE",
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "byte_fallback": False,
    "ignore_merges": False,
}


class FastEncoder:
    """Turn text into the ids that `tokenizers` gives, some hundred times faster.

    Text with characters on which the two libraries disagree goes to slow, which is `tokenizers`.
    """

    def __init__(self, description: str, slow: Callable[[str], list[int]]) -> None:
        self._description = description
        self._slow = slow
        self._open()

    def encode(self, text: str, data: bytes) -> array[int]:
        """Return the ids of a text, given also as UTF-8; as unsigned integers of 32 bits."""
        if not _may_be_disputed(data):
            return self._encode(data)
        ids = array("I")
        for part in text_parts(text, _PART_LENGTH):
            disputed = _disputed().search(part)
            ids += array("I", self._slow(part)) if disputed else self._encode(part.encode())
        return ids

    def _encode(self, data: bytes) -> array[int]:
        self._read_bytes += len(data)
        if self._read_bytes > self._check_at_bytes:
            self._forget_if_full()
        return array("I", self._library.encode(data).tobytes())

    def _forget_if_full(self) -> None:
        self._check_at_bytes = self._read_bytes + _CHECK_BYTES
        now, before = _memory_in_use(), self._memory_before
        if now is None or before is None:
            is_full = self._read_bytes > _WORDS_BYTES
        else:
            is_full = now - before > _MEMORY_BYTES
        if is_full:
            # First, so that its memory is free when what is in use is measured.
            del self._library
            self._open()

    def _open(self) -> None:
        from gigatoken import Tokenizer

        self._library = Tokenizer.from_json(self._description)
        self._memory_before = _memory_in_use()
        self._read_bytes = 0
        self._check_at_bytes = _CHECK_BYTES


def fast_description(library: tokenizers.Tokenizer, special: bool) -> str | None:
    """Return a tokenizer.json with which the fast library gives the ids of the slow one, or None.

    The tokenizer must already be known to split text as GPT-2 does.
    """
    description = json.loads(library.to_str())
    added = description["added_tokens"]
    if not _is_plain(description["model"]) or not all(map(_is_plain_token, added)):
        return None
    if not _spells_by_merging(library, description["model"], {token["content"] for token in added}):
        return None
    description["post_processor"] = description["decoder"] = None
    description["added_tokens"] = added if special else []
    return json.dumps(description)


def _is_plain(model: dict[str, Any]) -> bool:
    return all((model.get(key) or None) == (value or None) for key, value in _PLAIN_MODEL.items())


def _is_plain_token(token: dict[str, Any]) -> bool:
    return bool(token["special"]) and not any(token[rule] for rule in _OWN_TOKEN_RULES)


def _spells_by_merging(library: tokenizers.Tokenizer, model: dict[str, Any], added: set[str]) -> bool:
    """Tell whether merges are ranked by the ids they make, and make each token of the vocabulary.

    The fast library takes both for granted.
    """
    vocabulary = model["vocab"]
    made = [vocabulary["".join(merge)] for merge in model["merges"]]
    if any(one >= other for one, other in pairwise(made)):
        return False
    tokenize = library.model.tokenize
    return all(len(tokenize(token)) == 1 for token in vocabulary if token not in added)


@cache
def _disputed() -> re.Pattern[str]:
    ranges = (f"{chr(codes[0])}-{chr(codes[-1])}" for codes in _disputed_ranges())
    return re.compile(f"[{''.join(ranges)}]")


def _may_be_disputed(data: bytes) -> bool:
    """Tell, some hundred times faster than the search itself, whether it could find something."""
    leads, starts = _suspected()
    return any(lead in data for lead in leads) and starts.search(data) is not None


@cache
def _suspected() -> tuple[set[bytes], re.Pattern[bytes]]:
    """Return the first bytes of those characters, and what finds the first two."""
    starts = {chr(code).encode()[:2] for codes in _disputed_ranges() for code in codes}
    return {start[:1] for start in starts}, re.compile(b"|".join(sorted(starts)))


def _disputed_ranges() -> list[range]:
    lines = DISPUTED_CODE_POINTS.read_text("ascii").splitlines()
    ends = ([int(end, 16) for end in line.split("-")] for line in lines)
    return [range(first, last + 1) for first, last in ends]


def _memory_in_use() -> int | None:
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
