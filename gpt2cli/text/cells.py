"""The columns that text takes in a fixed-width font, and where its lines may break."""

from __future__ import annotations

import unicodedata

ELLIPSIS = "…"
# Vowels and final consonants of Hangul, which join the consonant before them.
JOINING_HANGUL = range(0x1160, 0x1200)


def cell_width(text: str) -> int:
    """Return the number of columns of a text, which must not contain control characters."""
    return len(text) if text.isascii() else sum(map(character_width, text))


def character_width(character: str) -> int:
    """Return the columns of a character: 2 if it is wide, 0 if it combines with the one before, else 1."""
    if character.isascii() or character == "\N{SOFT HYPHEN}":
        return 1
    if unicodedata.category(character) in ("Mn", "Me", "Cf") or ord(character) in JOINING_HANGUL:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def may_break(before: str, after: str) -> bool:
    """Return whether a line may break between two characters that are not white space."""
    if before == "\N{ZERO WIDTH JOINER}" or not character_width(after):
        return False
    if character_width(before) < 2 and character_width(after) < 2:
        return False
    opens = unicodedata.category(before) in ("Ps", "Pi")
    # Closing marks stay with the text before them, and a skin tone with its emoji.
    stays = unicodedata.category(after) in ("Pe", "Pf", "Po", "Sk")
    return not opens and not stays


def shorten(text: str, width: int) -> str:
    """Return text, with its middle replaced by an ellipsis if it is wider than `width`.

    More is kept of the end than of the start, which suits paths.
    """
    if cell_width(text) <= width:
        return text
    head = _prefix(text, (width - 1) // 3)
    tail = _prefix(text[::-1], width - 1 - cell_width(head))[::-1]
    return f"{head}{ELLIPSIS}{tail}"


def crop(text: str, width: int) -> str:
    """Return text, with its end replaced by an ellipsis if it is wider than `width`."""
    return text if cell_width(text) <= width else _prefix(text, width - 1) + ELLIPSIS


def _prefix(text: str, width: int) -> str:
    taken = 0
    for index, character in enumerate(text):
        taken += character_width(character)
        if taken > width:
            return text[:index]
    return text
