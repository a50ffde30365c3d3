"""What to know about a text before a model reads it: CR LF line ends, special and unknown tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.text.reading.newlines import CRLF

# The other end of documents for GPT-2, in texts made for gpt-2-simple. Hardly any tokenizer has it.
START_OF_TEXT = "<|startoftext|>"
# What is looked for may begin in one part of a text and end in the next.
LONGEST_NOTED = 100


class KnownTokens(Protocol):
    """What notes must know of a tokenizer."""

    @property
    def special_tokens(self) -> Sequence[str]:
        """The texts of the special tokens."""

    def first_unknown(self, text: str, special: bool = False) -> str | None:
        """Return the first part of a text that the vocabulary can only call unknown, or None."""


class TextNotes:
    """Notes on the texts that are checked; each is given once.

    Special tokens are parsed if `special` is true, else plain text. `crlf` asks for a note on CR LF.
    `separated` is whether lines of `<|endoftext|>` end documents; None if they never do.
    """

    def __init__(
        self,
        note: Callable[[str], None],
        tokenizer: KnownTokens,
        special: bool,
        *,
        crlf: bool = False,
        separated: bool | None = None,
    ) -> None:
        known = tokenizer.special_tokens
        self._plain = () if special else known
        self._unknown = () if START_OF_TEXT in known else (START_OF_TEXT,)
        self._tokenizer = tokenizer
        self._special = special
        self._has_unknown = False
        self._note = note
        self._crlf = crlf
        self._separated = separated

    def checked(self, parts: Iterable[str], name: str) -> Iterator[str]:
        """Yield the parts of a text, each after the notes on it that were not given yet."""
        before = ""
        for part in parts:
            self.check(before + part, name)
            before = part[-LONGEST_NOTED:]
            yield part

    def check(self, text: str, name: str) -> None:
        """Give the notes on a text that were not given yet."""
        if self._crlf and CRLF in text:
            self._crlf = False
            self._note(f"note: {name} has CR LF line ends, and CR is read as text; `newlines` lf drops it")
        if not self._has_unknown and (part := self._tokenizer.first_unknown(text, self._special)) is not None:
            self._has_unknown = True
            self._note(f"note: {name} has {part!r}, which the tokenizer does not know and reads as unknown")
        if not any(token in text for token in (*self._plain, *self._unknown)):
            return
        # Hardly any text gets here.
        from gpt2cli.text.reading.separator import SEPARATOR, without_separators

        if self._separated:
            text = without_separators(text)
        plain = [token for token in self._plain if token in text]
        unknown = [token for token in self._unknown if token in text]
        if not plain and not unknown:
            return
        self._plain = self._unknown = ()
        if not plain:
            hint = "this tokenizer has no such special token"
        elif self._separated is False and END_OF_TEXT in plain and SEPARATOR.search(text):
            hint = "`split` endoftext ends documents at its lines"
        else:
            hint = "`special` parses special tokens"
        self._note(f"note: {name} has {' and '.join([*unknown, *plain])}, read as plain text; {hint}")
