"""How much of a text is held at once, where it cannot be read and forgotten part by part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from gpt2cli.errors import InputError

Part = TypeVar("Part", str, bytes)

# While it is scored, a text takes some twenty times as much.
MOST_HELD = 1 << 26
# A picture takes some hundred times as much, and more in a browser.
MOST_DRAWN = 1 << 20


class Held:
    """The parts of a text until it is whole; `name` is for messages."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._parts: list[str] = []
        self._size = 0

    def add(self, part: str) -> None:
        """Hold a part.

        Raises:
            InputError: all that is held is longer than `MOST_HELD`.
        """
        self._parts.append(part)
        self._size += len(part)
        if self._size > MOST_HELD:
            raise too_long(self._name, MOST_HELD, "characters")

    def take(self) -> str:
        """Return what is held, and hold nothing."""
        text = "".join(self._parts)
        self._parts.clear()
        self._size = 0
        return text


def within(parts: Iterable[Part], name: str, most: int) -> Iterator[Part]:
    """Yield the parts of what is held whole; `name` is for messages.

    Raises:
        InputError: together they are longer than `most`, in characters or bytes.
    """
    size = 0
    for part in parts:
        size += len(part)
        if size > most:
            raise too_long(name, most, "characters" if isinstance(part, str) else "bytes")
        yield part


def too_long(name: str, most: int, unit: str) -> InputError:
    """Return the error that more than `most` bytes or characters are to be held."""
    return InputError(f"{name} has more than {most:,} {unit}, too many to hold at once.")
