"""Ends of sentences, lines and paragraphs by a plain search, the oracle of the search in a growing text."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator

from gpt2cli.text.streaming.text_ends import (
    ABBREVIATIONS,
    CLOSING,
    CONTEXT,
    GOES_ON,
    MARKS,
    WIDE_MARKS,
    Unit,
)


def plain_ends(text: str, unit: Unit) -> list[tuple[int, int]]:
    """Return the ends in a whole text, in order, each without and with the line ends there."""
    first_word = len(text) - len(text.lstrip())
    pattern = r"\r?\n" if unit == "line" else r"\r?\n[ \t]*\r?\n"
    ends = [match.span() for match in re.finditer(pattern, text)]
    if unit == "sentence":
        ends = [(place, place) for place in (*(start for start, _ in ends), *_sentence_ends(text))]
    return sorted(end for end in ends if end[0] > first_word)


def _sentence_ends(text: str) -> Iterator[int]:
    for place, following in enumerate(text):
        if following.isspace():
            continue
        sentence = text[:place].rstrip()
        has_gap = len(sentence) < place
        if has_gap and _is_end(sentence, MARKS, CLOSING, following):
            yield len(sentence)
        closing = CLOSING + "」』）"  # noqa: RUF001
        is_whole = has_gap or following not in closing + WIDE_MARKS
        if is_whole and _is_end(sentence, WIDE_MARKS, closing, following):
            yield len(sentence)


def _is_end(sentence: str, marks: str, closing: str, following: str) -> bool:
    unclosed = sentence.rstrip(closing)
    before = unclosed.rstrip(marks)
    run = unclosed[len(before) :]
    before = before[-CONTEXT:]
    if not run or following.islower() or following in GOES_ON:
        return False
    if run[0] not in ".…":
        return True
    word = re.split(r"[^\w.]", before)[-1]
    if not word:
        return not before[-1].isspace() if before else sentence == "."
    if len(run) > 1 or len(word) == CONTEXT:
        return True
    letters = word.split(".")
    are_initials = all(len(letter) == 1 and letter.isalpha() for letter in letters)
    if len(letters) == 1:
        are_initials = len(word) == 1 and word in string.ascii_uppercase and word != "I"
    is_item = word.isdecimal() and before.split("\n")[-1].strip() == word
    return not (is_item or are_initials or word in ABBREVIATIONS)
