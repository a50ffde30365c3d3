"""The options for the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from gpt2cli.cli.input.text import STDIN, is_file, read_prompt, require_stdin
from gpt2cli.cli.options.shared import NEWLINES_HELP, PROMPT, flag
from gpt2cli.cli.output.messages import Messages
from gpt2cli.errors import UsageError
from gpt2cli.text.reading.newlines import Newlines, with_lf

if TYPE_CHECKING:
    from gpt2cli.text.reading.notes import KnownTokens

_prompt_flag = partial(flag, rich_help_panel=PROMPT)


@dataclass(frozen=True, eq=False, repr=False)
class PromptOptions:
    """Where the prompt comes from."""

    prompt: Annotated[
        str | None,
        typer.Argument(metavar="PROMPT", show_default=False, help="The text to continue; - reads stdin."),
    ] = None
    file: Annotated[
        str | None,
        typer.Option(
            "--file", "-f", metavar="FILE", rich_help_panel=PROMPT, help="Read the prompt from FILE."
        ),
    ] = None
    keep_newline: Annotated[
        bool, _prompt_flag("--keep-newline", help="Keep the final newline of FILE or stdin.")
    ] = False
    newlines: Annotated[
        Newlines | None,
        typer.Option(rich_help_panel=PROMPT, show_default="keep", help=NEWLINES_HELP),
    ] = None
    unconditional: Annotated[
        bool, _prompt_flag("--unconditional", help="Start from the beginning-of-text token.")
    ] = False
    echo: Annotated[bool, _prompt_flag("--echo", help="Print the prompt before its continuation.")] = False

    def given(self) -> dict[str, bool]:
        """Return which of the options that many lines leave no place for are given."""
        return {
            "PROMPT": self.prompt not in (None, STDIN),
            "--file": self.file is not None,
            "--unconditional": self.unconditional,
            "--keep-newline": self.keep_newline,
            "--newlines": self.newlines is not None,
        }

    def line_source(self) -> str:
        """Return the source of many lines: FILE, or standard input.

        Raises:
            UsageError: standard input is a terminal and nothing else was named.
        """
        if self.file is None and self.prompt is None:
            require_stdin("Name a FILE with --file, or pipe lines in.")
        return self.file or STDIN

    def read(self, messages: Messages) -> str | None:
        """Return the prompt, or None if generation is unconditional.

        Raises:
            UsageError: two prompts were given, the prompt is empty or not UTF-8, or stdin is a terminal.
            InputError: the prompt cannot be read.
        """
        if self.unconditional:
            if self.prompt is not None or self.file is not None:
                raise UsageError("--unconditional takes no prompt.")
            return None
        text = read_prompt(self.prompt, self.file, self.keep_newline, messages.note)
        if not text:
            raise UsageError("The prompt is empty.", "Use --unconditional to start without a prompt.")
        if self.prompt and is_file(self.prompt):
            messages.note(f"note: {self.prompt} is also a file; -f {self.prompt} reads the prompt from it")
        return with_lf(text) if self.newlines == "lf" else text

    def check(self, text: str | None, special: bool, tokenizer: KnownTokens, messages: Messages) -> None:
        """Note what in a prompt may not be what its author thinks."""
        from gpt2cli.text.reading.notes import TextNotes

        if text is not None:
            TextNotes(messages.note, tokenizer, special, crlf=self.newlines is None).check(text, "the prompt")
