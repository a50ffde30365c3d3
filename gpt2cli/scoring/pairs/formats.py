"""The forms that minimal pairs come in: a table, BLiMP's JSON Lines, and SyntaxGym's JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gpt2cli.errors import InputError, brief
from gpt2cli.scoring.pairs.sentences import Sentence, parse_pairs
from gpt2cli.scoring.pairs.suites import Suite, parse_suite
from gpt2cli.scoring.scored_text import Text

# BLiMP's own names, and what its verdict compares: the better sentence is the likelier one.
BLIMP = {"sentence_good": "good", "sentence_bad": "bad"}


def parse(content: str, name: str) -> list[Sentence] | Suite:
    """Return the sentences of a table or of BLiMP, or a suite of SyntaxGym; `name` is for messages.

    Warstadt et al., "BLiMP: The Benchmark of Linguistic Minimal Pairs for English" (2020).

    Raises:
        UsageError, InputError: the content has another form; the message says where.
    """
    if not content.lstrip().startswith("{"):
        return parse_pairs(content, name)
    value = _json(content)
    if isinstance(value, dict) and "sentence_good" not in value:
        return parse_suite(value, name)
    sentences = list(_blimp(content, name))
    items = [sentence.item for sentence in sentences[::2]]
    twice = next((item for item, count in Counter(items).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{name}: item {brief(twice)} is there twice.")
    return sentences


def _blimp(content: str, name: str) -> Iterator[Sentence]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        pair = _json(line)
        if not isinstance(pair, dict) or not all(isinstance(pair.get(key), str) for key in BLIMP):
            raise InputError(f"{name}, line {number}: a pair needs 'sentence_good' and 'sentence_bad'.")
        paradigm = pair.get("UID")
        label = None if paradigm is None else str(paradigm)
        item = ":".join(str(part) for part in (paradigm, pair.get("pairID", number)) if part is not None)
        for key, condition in BLIMP.items():
            text = pair[key]
            yield Sentence(item, condition, Text(text), ((0, len(text)),), number, (label,))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
