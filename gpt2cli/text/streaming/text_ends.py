"""Where a sentence, a line or a paragraph of a growing text ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import chain
from typing import Literal

Unit = Literal["sentence", "line", "paragraph"]

LINE_END = re.compile(r"\r?\n")
BLANK_LINE = re.compile(r"\r?\n[ \t]*\r?\n")
# What closes behind a sentence belongs to it; in German, “ and « close quotes.
CLOSING = "\"'”’»›“‘«‹)\\]}*_"  # noqa: RUF001
# A sentence goes on with these: "Who?" -- "I", said the king.
GOES_ON = ",;:-–—"  # noqa: RUF001
SENTENCE_END = re.compile(rf"[.!?…؟।]+[{CLOSING}]*(?=\s+\S)")
# Scripts with full-width marks have no space between sentences.
WIDE_SENTENCE_END = re.compile(rf"[。！？｡]+[」』）{CLOSING}]*(?=\s*\S)")  # noqa: RUF001
ABBREVIATIONS = {
    *("Mr", "Mrs", "Ms", "Mx", "Dr", "St", "Prof", "Rev", "Hon", "Messrs", "Mme", "Mlle"),
    *("Gen", "Col", "Capt", "Lt", "Sgt", "Fig", "Vol", "vs", "cf", "pp"),
}
LAST_WORD = re.compile(r"[\w.]+\Z")
# J. in J. K. Rowling, U.S. and e.g.; I is a word.
INITIALS = re.compile(r"[A-HJ-Z]|[^\W\d_](\.[^\W\d_])+")


def text_ends(text: str, unit: Unit, searched: int = 0) -> Iterator[tuple[int, int]]:
    """Yield where sentences, lines or paragraphs of a text end, in order, if more text cannot move the end.

    Each end has two places, between which are the line ends that end a line or paragraph.

    White space before the first word ends nothing. A sentence ends behind `.`, `!`, `?` or an ellipsis with
    the quotes and brackets that close there, unless a lowercase letter or a dash follows, or the period
    belongs to an abbreviation, an initial or the number of a list item. A blank line ends a sentence too.

    Ends before the place `searched`, behind which there was nothing when it was, may be left out.
    """
    first_word = len(text) - len(text.lstrip())
    # What ends there may have begun before.
    ends = sorted(_ends(text, unit, len(text[:searched].rstrip(_ending_characters()))))
    return (end for end in ends if end[0] > first_word)


@cache
def _ending_characters() -> str:
    spaces = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
    return f".!?…؟।。！？｡」』）{CLOSING}{spaces}"  # noqa: RUF001


def _ends(text: str, unit: Unit, start: int) -> Iterator[tuple[int, int]]:
    pattern = LINE_END if unit == "line" else BLANK_LINE
    for match in pattern.finditer(text, start):
        yield match.start(), match.start() if unit == "sentence" else match.end()
    if unit == "sentence":
        found = chain(SENTENCE_END.finditer(text, start), WIDE_SENTENCE_END.finditer(text, start))
        for match in found:
            if _ends_sentence(text, match):
                yield match.end(), match.end()


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    following = text[match.end() :].lstrip()[0]
    if following.islower() or following in GOES_ON:
        return False
    if not match[0].startswith((".", "…")):
        return True
    before = text[: match.start()]
    word = LAST_WORD.search(before)
    if word is None:
        # Dots between spaces are a pause: I ... I see. Others follow a quote or a bracket, or end a prompt.
        return not before[-1].isspace() if before else match[0] == "."
    if len(match[0].rstrip(CLOSING)) > 1:
        return True
    is_item = word[0].isdecimal() and not before[: word.start()].rpartition("\n")[2].strip()
    return not (is_item or word[0] in ABBREVIATIONS or INITIALS.fullmatch(word[0]))
