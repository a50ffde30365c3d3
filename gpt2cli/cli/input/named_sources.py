"""The sources that a command line can name: files and standard input."""

from __future__ import annotations

from gpt2cli.cli.input.text import source_chunks, source_name
from gpt2cli.text.streaming.text_blocks import decode_utf8
from gpt2cli.training.data.sources import Sources


class CommandSources(Sources):
    """Files by their paths, and standard input as `-`."""

    def title(self, source: str) -> str:
        return source_name(source)

    def read(self, source: str) -> str:
        # Training holds its texts, however long.
        return decode_utf8(b"".join(source_chunks(source)), source_name(source))
