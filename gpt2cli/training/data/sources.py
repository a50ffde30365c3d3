"""Where texts are read from: files, unless the caller knows other sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpt2cli.text.reading.chunks import file_chunks
from gpt2cli.text.reading.folders import named_files
from gpt2cli.text.streaming.text_blocks import decode_utf8


class Sources:
    """Texts by name; each name is the path of a file."""

    def title(self, source: str) -> str:
        """Return how a message names a source."""
        return source

    def files(self, names: Sequence[str], note: Callable[[str], None]) -> Sequence[str]:
        """Return the sources that names, folders and patterns stand for.

        Raises:
            InputError: a folder holds no text.
        """
        from gpt2cli.training.data.documents import TOKEN_SUFFIXES

        return named_files(names, note, TOKEN_SUFFIXES)

    def read(self, source: str) -> str:
        """Return the text of a source.

        Raises:
            InputError: it cannot be read, or is not UTF-8.
        """
        return decode_utf8(b"".join(file_chunks(source)), source)
