"""Options for many lines in one run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gpt2cli.cli.options.shared import flag
from gpt2cli.cli.output.file_formats import file_format
from gpt2cli.errors import UsageError

if TYPE_CHECKING:
    from gpt2cli.serving.shard import Shard

LINES = "Many lines"

_lines = partial(typer.Option, rich_help_panel=LINES)
_lines_flag = partial(flag, rich_help_panel=LINES)


LineField = Annotated[
    str | None,
    _lines("--field", metavar="NAME", show_default=False, help="Field of JSON Lines, or column of a table."),
]


@dataclass(frozen=True, eq=False, repr=False)
class Lines:
    """Where lines or a table come from, and which of them are answered how.

    The texts are in a field of the lines, or a column of the table.
    """

    jsonl: str | None = None
    unordered: bool = False
    resume: bool = False
    shard: str | None = None
    cluster: Literal["ray"] | None = None
    field: str | None = None

    def with_field(self, field: str | None) -> Lines:
        """Return the same options with a field, or the column of a table."""
        return replace(self, field=field)

    def are_wanted(self, others: Mapping[str, bool], output: Path | None) -> bool:
        """Return whether lines are answered; `others` are options by name, and whether they are given.

        Raises:
            UsageError: the options do not go together, or not with the others.
        """
        if self.jsonl is None and self.field is None:
            for name in ("unordered", "resume", "shard", "cluster"):
                if getattr(self, name):
                    raise UsageError(f"--{name} is for many lines.", "Name them with --jsonl.")
            return False
        from gpt2cli.cli.options.conflicts import conflicts_of, reject_conflicts

        kind = "--field" if self.jsonl is None else "--jsonl"
        # A table, or lines with other fields, are named as any text is.
        names = [name for name in others if self.jsonl is not None or name not in ("FILE", "--file")]
        reject_conflicts({kind: True, **others}, conflicts_of(kind, names))
        if self.resume and output is None:
            raise UsageError("--resume needs -o FILE.", "Name the file that the run wrote.")
        file_format(output, ("text", "jsonl"))
        return True

    def part(self) -> Shard:
        """Return which of the lines are answered.

        Raises:
            UsageError: --shard is not I/N.
        """
        from gpt2cli.serving.shard import Shard, parse_shard

        return Shard() if self.shard is None else parse_shard(self.shard, os.environ)


class LineOptions(Lines):
    """The options but `field`, which some commands need for more than lines."""

    jsonl: Annotated[
        str | None, _lines("--jsonl", metavar="FILE", help="Answer each JSON line of FILE; - is stdin.")
    ]
    unordered: Annotated[bool, _lines_flag("--unordered", help="Print answers as they finish.")]
    resume: Annotated[bool, _lines_flag("--resume", help="Go on with the -o FILE of a run.")]
    shard: Annotated[
        str | None,
        _lines(metavar="I/N", show_default=False, help="Every Nth line from I; auto asks SLURM."),
    ]
    cluster: Annotated[
        Literal["ray"] | None,
        _lines(metavar="ray", show_default=False, help="Share lines among a Ray cluster."),
    ]
