"""Text from a model or a file, made safe to show: it cannot move the cursor or hide anything."""

from __future__ import annotations

import unicodedata

# Control characters, invisible formatting, lone surrogates, line and paragraph separators.
UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Invisible, but some languages and joined emoji need them.
NEEDED = "\N{SOFT HYPHEN}\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"


def escaped(text: str) -> str:
    """Return text with unprintable characters as Python escapes, and bytes that are not UTF-8 as \\xNN."""
    return text if text.isprintable() else "".join(map(_escape, text))


def visible(text: str, kept: str = "\t\n") -> str:
    """Return running text with the characters that a terminal would obey or hide as `escaped` spells them.

    Those in `kept` stay, and so does what the spelling of a language needs.
    """
    if text.isprintable():
        return text
    return "".join(char if char in kept or _is_safe(char) else _escape(char) for char in text)


def replaced(text: str) -> str:
    """Return running text with U+FFFD in place of what neither a picture nor XML can hold."""
    if text.isprintable():
        return text
    return "".join(char if char in "\t\n" or _is_safe(char) else "\N{REPLACEMENT CHARACTER}" for char in text)


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":
        return rf"\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _is_safe(character: str) -> bool:
    if character.isprintable() or character in NEEDED:
        return True
    # XML does not allow the last two code points of a plane.
    return unicodedata.category(character) not in UNSAFE and ord(character) & 0xFFFE != 0xFFFE
