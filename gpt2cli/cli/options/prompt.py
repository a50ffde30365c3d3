"""The options that say what to continue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from gpt2cli.cli.input.text import is_file, read_prompt
from gpt2cli.cli.options.shared import flag
from gpt2cli.cli.output.messages import Messages
from gpt2cli.errors import UsageError


@dataclass(frozen=True, eq=False, repr=False)
class PromptOptions:
    """Where the prompt comes from."""

    prompt: Annotated[
        str | None, typer.Argument(show_default=False, help="The text to continue; - reads stdin.")
    ] = None
    file: Annotated[
        str | None, typer.Option("--file", "-f", metavar="FILE", help="Read the prompt from FILE.")
    ] = None
    keep_newline: Annotated[
        bool, flag("--keep-newline", help="Keep the final line end of FILE or stdin.")
    ] = False
    unconditional: Annotated[
        bool, flag("--unconditional", help="Begin from the beginning-of-text token, without a prompt.")
    ] = False

    def read(self, messages: Messages) -> str | None:
        """Return the prompt, None if there is none to read.

        Raises:
            UsageError: there are two prompts, or an empty one, or stdin is a terminal.
            InputError: it cannot be read or is not UTF-8.
        """
        if self.unconditional:
            if self.prompt is not None or self.file is not None:
                raise UsageError("--unconditional takes no prompt.")
            return None
        text = read_prompt(self.prompt, self.file, self.keep_newline, messages.note)
        if not text:
            raise UsageError("The prompt is empty.", "Use --unconditional to begin from nothing.")
        if self.prompt and is_file(self.prompt):
            messages.note(f"note: {self.prompt} is also a file; -f {self.prompt} reads the prompt from it")
        return text
