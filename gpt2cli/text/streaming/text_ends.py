"""Where the sentences, lines or paragraphs of a growing text end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

Unit = Literal["sentence", "line", "paragraph"]

# What ends a line or a paragraph, and the beginning of that at the end of a text.
LINE_END = re.compile(r"\r?\n"), re.compile(r"\r?\Z")
BLANK_LINE = re.compile(r"\r?\n[ \t]*\r?\n"), re.compile(r"(\r?\n[ \t]*)?\r?\Z")
MARKS = ".!?…؟।"
# What closes behind a sentence belongs to it; in German, “ and « close quotes.
CLOSING = "\"'”’»›“‘«‹)\\]}*_"  # noqa: RUF001
# Scripts with full-width marks have no space between sentences.
WIDE_MARKS = "。！？｡"  # noqa: RUF001
WIDE_CLOSING = f"」』）{CLOSING}"  # noqa: RUF001
# What of these is at the end of a text belongs together with what follows.
_RUN = rf"(?<![{MARKS}])([{MARKS}]+)([{CLOSING}]*)"
_WIDE_RUN = rf"(?<![{WIDE_MARKS}])([{WIDE_MARKS}]+)([{WIDE_CLOSING}]*)"
SENTENCE_ENDS = (
    re.compile(rf"{_RUN}(?=\s+(\S))"),
    re.compile(rf"{_WIDE_RUN}(?![{WIDE_MARKS}{WIDE_CLOSING}])(?=\s*(\S))"),
)
SENTENCE_ENDS_BEGUN = tuple(re.compile(rf"{run}(\s*)\Z") for run in (_RUN, _WIDE_RUN))
# A sentence goes on with these: "Who?" -- "I", said the king.
GOES_ON = ",;:-–—"  # noqa: RUF001
ABBREVIATIONS = {
    *("Mr", "Mrs", "Ms", "Mx", "Dr", "St", "Prof", "Rev", "Hon", "Messrs", "Mme", "Mlle"),
    *("Gen", "Col", "Capt", "Lt", "Sgt", "Fig", "Vol", "vs", "cf", "pp"),
}
LAST_WORD = re.compile(r"[\w.]+\Z")
# J. in J. K. Rowling, U.S. and e.g.; I is a word.
INITIALS = re.compile(r"[A-HJ-Z]|[^\W\d_](\.[^\W\d_])+")
# How many characters before a mark may tell that it ends no sentence.
CONTEXT = 64


class TextEnds:
    """A search for the ends of sentences, lines or paragraphs in a text that arrives in pieces.

    Each end has two places, between which are the line ends that end a line or paragraph.

    White space before the first word ends nothing. A sentence ends behind `.`, `!`, `?` or an ellipsis with
    the quotes and brackets that close there, unless a lowercase letter or a dash follows, or the period
    belongs to an abbreviation, an initial or the number of a list item. A blank line ends a sentence too.
    """

    def __init__(self, unit: Unit) -> None:
        self._lines = _LineEnds(*(LINE_END if unit == "line" else BLANK_LINE))
        self._sentences = _SentenceEnds() if unit == "sentence" else None
        self._length = 0
        self._first_word: int | None = None

    def push(self, text: str) -> list[tuple[int, int]]:
        """Return the ends, in order, that are certain after more text and were not before."""
        if self._first_word is None and (words := text.lstrip()):
            self._first_word = self._length + len(text) - len(words)
        ends = list(self._lines.push(text, self._length))
        if self._sentences:
            # A sentence ends before the blank line.
            ends = [(start, start) for start, _ in ends]
            ends = sorted((*ends, *self._sentences.push(text, self._length)))
        self._length += len(text)
        return [end for end in ends if self._first_word is not None and end[0] > self._first_word]

    @property
    def first_to_come(self) -> tuple[int, int]:
        """The least place that more text may give an end."""
        if self._sentences:
            begun = min(self._lines.begun, self._sentences.begun)
            return begun, begun
        return self._lines.begun, self._length + 1


class _LineEnds:
    """A search for a pattern of line ends; `begun` is where the next may have begun, or the text ends."""

    def __init__(self, pattern: re.Pattern[str], begun: re.Pattern[str]) -> None:
        self.begun = 0
        self._pattern = pattern
        self._begun = begun
        self._held = ""

    def push(self, text: str, length: int) -> Iterator[tuple[int, int]]:
        """Yield what ends with more text, before which the text has a length."""
        window, before = self._held + text, length - len(self._held)
        searched = 0
        for match in self._pattern.finditer(window):
            searched = match.end()
            yield self._place(match.start(), before), before + searched
        begun = self._begun.search(window, searched)
        assert begun
        self.begun = self._place(begun.start(), before)
        # Spaces change nothing, however many there are.
        self._held = begun[0].replace(" ", "").replace("\t", "")

    def _place(self, index: int, before: int) -> int:
        return self.begun if index < len(self._held) else before + index


class _SentenceEnds:
    """A search for the ends of sentences; `begun` is where more text may put one, or the text ends."""

    def __init__(self) -> None:
        self.begun = 0
        # What precedes marks, and a run of marks with what follows it, at the end of the text.
        self._context = ""
        self._held = ""

    def push(self, text: str, length: int) -> Iterator[tuple[int, int]]:
        """Yield the ends that are certain with more text, before which the text has a length."""
        window = self._context + self._held + text
        old, first = len(self._context + self._held), len(self._context)

        def place(index: int) -> int:
            return self.begun if index <= old else length + index - old

        for pattern in SENTENCE_ENDS:
            for match in pattern.finditer(window, first):
                if _ends_sentence(window[max(0, match.start() - CONTEXT) : match.start()], match):
                    yield (end := place(match.end(2))), end
        found = (pattern.search(window, first) for pattern in SENTENCE_ENDS_BEGUN)
        begun = next(filter(None, found), None)
        start = begun.start() if begun else len(window)
        self.begun = place(begun.end(2)) if begun else length + len(text)
        self._context = window[max(0, start - CONTEXT) : start]
        self._held = _shortened(*begun.groups()) if begun else ""


def _shortened(marks: str, closing: str, space: str) -> str:
    """Return the shortest text that is judged as these runs are, whatever follows."""
    return marks[0] + marks[1:][-1:] + closing[-1:] + space[-CONTEXT:]


def _ends_sentence(before: str, match: re.Match[str]) -> bool:
    marks, _, following = match.groups()
    if following.islower() or following in GOES_ON:
        return False
    if marks[0] not in ".…":
        return True
    word = LAST_WORD.search(before)
    if word is None:
        # Dots between spaces are a pause: I ... I see. Others follow a quote or a bracket, or end a prompt.
        return not before[-1].isspace() if before else match[0] == "."
    if len(marks) > 1 or len(word[0]) == CONTEXT:
        return True
    is_item = word[0].isdecimal() and not before[: word.start()].rpartition("\n")[2].strip()
    return not (is_item or word[0] in ABBREVIATIONS or INITIALS.fullmatch(word[0]))
