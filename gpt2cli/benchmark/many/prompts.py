"""Many prompts: texts of words from a book, of given lengths in tokens."""

from __future__ import annotations

import json
import random
from bisect import bisect
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gpt2cli.benchmark.workload import HELD_OUT, SHORT_PROMPT_TOKENS
from gpt2cli.text.tokenizer import Tokenizer

# The lengths of prompts in tokens, and what those that begin alike have in common.
LEAST, MOST, SHARED = 10, 200, 500
LONGEST = SHARED + LEAST
SEED = 1
KINDS = ("prompts", "shared", "unshared")


class Prompt(NamedTuple):
    """A prompt, and its ids."""

    text: str
    ids: Sequence[int]

    @property
    def beginning(self) -> Prompt:
        """Its first ids, too few to be shared."""
        return Prompt("", self.ids[:SHORT_PROMPT_TOKENS])


class Words:
    """Texts of words from a book, drawn at random; a prompt has at most `room` tokens."""

    def __init__(self, tokenizer: Tokenizer, room: int) -> None:
        words = sorted({f" {word}" for word in HELD_OUT.read_text("utf-8").split()})
        # A tokenizer may drop what it cannot spell.
        by_size = sorted((size, word) for word in words if (size := len(tokenizer.encode(word))))
        self._sizes = [size for size, _ in by_size]
        self._words = [word for _, word in by_size]
        self._tokenizer = tokenizer
        self._room = room
        self._own = min(LEAST, room // 2)
        self._numbers = random.Random()
        self._kinds = {"prompts": self._mixed, "shared": self._shared, "unshared": self._unshared}

    def prompts(self, kind: str, count: int) -> list[Prompt]:
        """Return prompts of one of KINDS; they do not depend on which were asked for before."""
        self._numbers.seed(SEED)
        return list(self._kinds[kind](count))

    def _mixed(self, count: int) -> Iterator[Prompt]:
        """Yield prompts of LEAST to MOST tokens."""
        for _ in range(count):
            yield self._prompt(self._text(min(self._room, self._numbers.randint(LEAST, MOST))))

    def _shared(self, count: int) -> Iterator[Prompt]:
        """Yield prompts with the same first SHARED tokens, and LEAST of their own."""
        first = self._text(min(SHARED, self._room - self._own))
        for _ in range(count):
            yield self._prompt(first + self._text(self._own))

    def _unshared(self, count: int) -> Iterator[Prompt]:
        """Yield prompts that are as long and begin with other tokens each."""
        for _ in range(count):
            yield self._prompt(self._text(min(LONGEST, self._room)))

    def _text(self, tokens: int) -> str:
        """Return a text of so many tokens, or of a few less if no word is short enough."""
        chosen: list[str] = []
        while fitting := bisect(self._sizes, tokens):
            number = self._numbers.randrange(fitting)
            chosen.append(self._words[number])
            tokens -= self._sizes[number]
        return "".join(chosen)

    def _prompt(self, text: str) -> Prompt:
        # The shortest word may be longer than a very short context.
        text = text or self._words[0]
        return Prompt(text, self._tokenizer.encode(text)[: self._room])


def write_prompts(file: Path, tokenizer: Tokenizer, kinds: Collection[str], count: int, room: int) -> None:
    """Write many prompts of each of some kinds."""
    words = Words(tokenizer, room)
    file.write_text(json.dumps({kind: words.prompts(kind, count) for kind in kinds}), "utf-8")


def read_prompts(file: str, kind: str) -> list[Prompt]:
    """Return the prompts of a kind."""
    return [Prompt(*entry) for entry in json.loads(Path(file).read_bytes())[kind]]
