"""Options for many contexts in one run of `next`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import typer

from gpt2cli.errors import UsageError

_questions = partial(typer.Option, rich_help_panel="Many contexts", show_default=False)


@dataclass(frozen=True, eq=False, repr=False)
class QuestionOptions:
    """Where contexts and their candidates come from, and how they are read."""

    items: Annotated[
        str | None,
        _questions("--items", metavar="FILE", help="Rank the candidates of each context in a table."),
    ] = None
    protocol: Annotated[
        Literal["lm-eval"] | None,
        _questions("--protocol", metavar="TOOL", help="Read them as lm-eval does."),
    ] = None

    def check(self, given: bool) -> None:
        """Check that nothing else is to be read; `given` says whether TEXT, FILE or a candidate was.

        Raises:
            UsageError: the options do not go together.
        """
        if self.items is not None and given:
            raise UsageError("--items takes the place of TEXT, --file and candidates.")
        if self.protocol and self.items is None:
            raise UsageError(
                "--protocol is for --items.", "Without it, candidates are read as they are spelled."
            )
