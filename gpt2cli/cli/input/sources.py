"""Texts from files, standard input or an argument."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gpt2cli.cli.input.text import STDIN, argument_text, read_content, source_name
from gpt2cli.cli.output.messages import print_message
from gpt2cli.errors import InputError

if TYPE_CHECKING:
    from gpt2cli.scoring.streaming.streamed_text import Content
    from gpt2cli.text.reading.notes import TextNotes


class Sources:
    """Texts read one by one; of several files, those that cannot be read are reported and left out.

    A single text is read at once. `failed` is true once a file could not be read.

    Raises:
        InputError: the only text cannot be read.
    """

    def __init__(self, files: Sequence[str] | None, text: str | None) -> None:
        self.failed = False
        self.are_files = bool(files)
        self.are_several = files is not None and len(files) > 1
        self._files = files or [STDIN]
        self._only = None if self.are_several else self._read_only(text)

    def __iter__(self) -> Iterator[tuple[str | None, Content]]:
        """Yield names and texts, long ones in parts; only files have names."""
        if self._only is not None:
            yield self._files[0] if self.are_files else None, self._only
            return
        for file in self._files:
            content = self._try_to_read(file)
            if content is not None:
                yield file, content

    def checked(self, notes: TextNotes) -> Iterator[tuple[str | None, Content]]:
        """Yield names and texts, each after the notes on it."""
        for name, text in self:
            title = "the text" if name is None else source_name(name)
            if isinstance(text, str):
                notes.check(text, title)
                yield name, text
            else:
                yield name, notes.checked(text, title)

    def _try_to_read(self, file: str) -> Content | None:
        try:
            return read_content(file)
        except InputError as error:
            print_message(f"Error: {error}")
            self.failed = True
            return None

    def _read_only(self, text: str | None) -> Content:
        if text is not None:
            return argument_text(text, "--text")
        try:
            return read_content(self._files[0])
        except InputError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise InputError(error.message, "To pass text itself, use --text.") from error
            raise
