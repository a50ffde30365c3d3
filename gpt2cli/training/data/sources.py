"""Where texts are read from: files, unless the caller knows other sources."""

from __future__ import annotations

from pathlib import Path

from gpt2cli.errors import InputError
from gpt2cli.text.text_blocks import decode_utf8


class Sources:
    """Texts by name; each name is the path of a file."""

    def title(self, source: str) -> str:
        """Return how a message names a source."""
        return source

    def read(self, source: str) -> str:
        """Return the text of a source.

        Raises:
            InputError: it cannot be read, or is not UTF-8.
        """
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise InputError(f"{source}: {error.strerror}.") from error
        return decode_utf8(data, source)
