"""The numbers of `gpt2 bench` on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpt2cli.benchmark.report import WORDS
from gpt2cli.cli.output.table import print_table

if TYPE_CHECKING:
    from gpt2cli.benchmark.report import Table


def print_numbers(table: Table) -> None:
    """Print a table on stdout, with numbers right-aligned on a terminal.

    Raises:
        InputError: stdout is closed.
        OSError: writing failed.
    """
    print_table(table[0], table[1:], WORDS)
