"""What `explore` shows: the text, the alternatives at the cursor, and lines around them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpt2cli.inspection.exploration.exploration import Alternative, Exploration
from gpt2cli.text.cells import cell_width
from gpt2cli.text.printable import escaped, visible
from gpt2cli.text.token_text import token_text

if TYPE_CHECKING:
    from prompt_toolkit.formatted_text import StyleAndTextTuples as Fragments

# More than a screen has lines, so that the rest can be scrolled to.
MOST_ALTERNATIVES = 50
BAR_COLUMNS = 20
REVERSED, BOLD = "reverse", "bold"
# Where a window scrolls to.
CURSOR = "[SetCursorPosition]"
END = "_"
KEYS = (
    ("left, right", "move by a token; Home, End: to the ends of the text"),
    ("up, down", "choose another alternative"),
    ("Enter", "take the chosen one and go on; in the text, this begins a branch"),
    ("Space", "draw a token"),
    ("g", "draw 20 tokens; g again stops"),
    ("Tab", "show the next branch at this place"),
    ("u", "undo"),
    ("t, T; p, P", "lower, raise the temperature; lower, raise top-p"),
    ("w", "write a text of your own at the cursor"),
    ("s; o", "save, open a tree: NAME.json, or NAME.txt to read and edit"),
    ("q", "quit; Ctrl-Z: to the shell, where fg leads back"),
)
HINTS = "Enter take  Space draw  g go on  Tab branch  u undo  t/T p/P  w write  ? keys"


@dataclass
class Screen:
    """An exploration as fragments of text with styles; `chosen` is the row of the list that Enter takes."""

    exploration: Exploration
    chosen: int = 0
    status: str = ""
    shows_keys: bool = False
    _place: tuple[int, int] = (-1, -1)
    _rows: list[Alternative] = field(default_factory=list)
    _settings: tuple[float, float, int] = (0.0, 0.0, 0)

    @property
    def rows(self) -> list[Alternative]:
        """The alternatives at the cursor, computed anew only if something has changed."""
        tree, exploration = self.exploration.tree, self.exploration
        settings = exploration.temperature, exploration.top_p, len(tree.nodes)
        place = tree.current, tree.path[-1]
        if (place, settings) != (self._place, self._settings):
            self._rows = exploration.alternatives(MOST_ALTERNATIVES)
            if place != self._place:
                shown = [number for number, row in enumerate(self._rows) if row.shown]
                self.chosen = shown[0] if shown else 0
            self._place, self._settings = place, settings
        return self._rows

    def choose(self, steps: int) -> None:
        """Choose another alternative."""
        self.chosen = max(0, min(self.chosen + steps, len(self.rows) - 1))

    def title(self) -> Fragments:
        """Return the line above the text."""
        exploration, tree = self.exploration, self.exploration.tree
        name = escaped(exploration.loaded.files.name)
        branches = len(tree.branches)
        told = (
            f" {name}  temperature {exploration.temperature:g}  top-p {exploration.top_p:g}  "
            f"token {tree.place} of {len(tree.path) - 1}  branches {branches}"
        )
        return [(REVERSED, told + ("" if exploration.saved else "  *"))]

    def text(self, columns: int) -> Fragments:
        """Return the text in view, its lines broken between words; the token at the cursor is reversed."""
        tree, exploration = self.exploration.tree, self.exploration
        ids, place = tree.ids, tree.place
        before, behind = exploration.text(ids[:place]), exploration.text(ids[place + 1 :])
        under = exploration.text(ids[place : place + 1])
        shown = _shown(token_text(under)) if place < len(ids) else END
        first = _shown(before.decode("utf-8", "replace"))
        whole = wrapped(first + shown + _shown(behind.decode("utf-8", "replace")), columns)
        start, end = len(first), len(first) + len(shown)
        return [("", whole[:start]), (CURSOR, ""), (REVERSED, whole[start:end]), ("", whole[end:])]

    def list(self) -> Fragments:
        """Return the alternatives: the model's probability, the chance of a draw, and what is taken."""
        if self.shows_keys:
            return [("", f"  {key:<12} {does}\n") for key, does in KEYS]
        lines: Fragments = []
        for number, row in enumerate(self.rows):
            is_chosen = number == self.chosen
            if is_chosen:
                lines.append((CURSOR, ""))
            mark = "*" if row.shown else "+" if row.taken else " "
            bar = "#" * round(row.chance * BAR_COLUMNS)
            line = (
                f"{'>' if is_chosen else ' '} {mark} {row.probability:7.2%} {row.chance:7.2%} "
                f"{bar:<{BAR_COLUMNS}} {escaped(repr(token_text(row.data)))}\n"
            )
            lines.append((BOLD if is_chosen else "", line))
        return lines

    def heading(self) -> Fragments:
        """Return the line above the alternatives."""
        return [(REVERSED, "      model    draw                      token (+ taken before, * in view)")]

    def bottom(self) -> Fragments:
        """Return the last line: a message, or what keys do."""
        return [("", self.status or HINTS)]


def _shown(text: str) -> str:
    """Return text that cannot move the cursor; where a line ends can be seen."""
    return visible(
        text.replace("\r\n", "\n").replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}\n"), "\n"
    )


def wrapped(text: str, columns: int) -> str:
    """Return text of the same length with line ends in place of the spaces at which its lines are broken."""
    characters = list(text)
    width, space = 0, -1
    for place, character in enumerate(text):
        width = 0 if character == "\n" else width + cell_width(character)
        if width > columns and space >= 0:
            characters[space] = "\n"
            width, space = cell_width(text[space + 1 : place + 1]), -1
        if character == " ":
            space = place
        elif character == "\n":
            space = -1
    return "".join(characters)
