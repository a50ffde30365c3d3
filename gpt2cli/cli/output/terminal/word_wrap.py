"""Word wrap on a terminal for text that is still being generated."""

from __future__ import annotations

from collections.abc import Callable

from gpt2cli.text.cells import character_width, may_break
from gpt2cli.text.printable import visible

# A word this close to the edge is held back until it ends, because shown text cannot be moved.
MARGIN = 16
TAB_STOP = 8
# A carriage return counts as a space, so that CRLF simply ends a line.
BLANKS = " \t\r"
PLAIN = "\x1b[0m"


class WordWrap:
    """Wrap text that arrives in pieces; `columns` is called for the width at the start of each line.

    A word is shown piece by piece, and held back only near the right edge, until it ends or moves to the
    next line. The terminal wraps words longer than a line, so that they are copied unbroken.
    """

    def __init__(self, columns: Callable[[], int]) -> None:
        self._columns = columns
        self._width = columns()
        self._column = 0
        # Not the same as column 0, because a word can have no width.
        self._line_is_empty = True
        # White space, the column behind it, and the word after it; neither is shown yet.
        self._gap: list[str] = []
        self._gap_end = 0
        self._word = ""
        self._widths: list[int] = []
        self._last = ""
        self._may_move = True
        self._shown: list[str] = []

    def push(self, text: str, style: str = "") -> str:
        """Return the text that can be shown now; an escape sequence styles this piece."""
        self._word += style
        for character in visible(text, f"{BLANKS}\n"):
            if character == "\n":
                self._end_line()
            elif character in BLANKS:
                self._end_word()
                self._gap.append(" " if character == "\r" else character)
                self._gap_end += TAB_STOP - self._gap_end % TAB_STOP if character == "\t" else 1
            else:
                if self._last and may_break(self._last, character):
                    self._end_word()
                self._word += character
                self._widths.append(character_width(character))
                self._last = character
        self._word += PLAIN if style else ""
        room = self._width - self._needed()
        if room >= MARGIN or room < 0 or not self._may_move:
            self._show_word()
        shown = "".join(self._shown)
        self._shown.clear()
        return shown

    def _needed(self) -> int:
        return self._gap_end + sum(self._widths)

    def _end_word(self) -> None:
        self._show_word()
        self._last = ""
        self._may_move = True

    def _end_line(self) -> None:
        self._end_word()
        self._drop_gap()
        self._start_line("\n")

    def _start_line(self, line_end: str) -> None:
        self._shown.append(line_end)
        self._width = self._columns()
        self._column = self._gap_end = 0
        self._line_is_empty = True

    def _drop_gap(self) -> None:
        self._gap.clear()
        self._gap_end = self._column

    def _show_word(self) -> None:
        """Show the word, on the next line if it does not fit and none of it has been shown."""
        if not self._word:
            return
        if self._may_move and self._needed() > self._width:
            self._drop_gap()
            if not self._line_is_empty:
                self._start_line("\n")
        self._column = self._gap_end
        self._shown += (*self._gap, self._word)
        for width in self._widths:
            if self._column + width > self._width:
                # The terminal breaks the line here by itself.
                self._start_line("")
            self._column += width
        self._line_is_empty = False
        self._may_move = self._may_move and not self._widths
        self._word = ""
        self._widths.clear()
        self._drop_gap()
