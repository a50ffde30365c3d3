"""Tables on stdout: aligned on a terminal, tab-separated lines in a pipe, with the same content."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from gpt2cli.cli.output.messages import stdout_console
from gpt2cli.cli.output.streams import write_stdout


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a header.

    Raises:
        InputError: stdout is closed.
        OSError: it cannot be written.
    """
    lines = [header, *rows]
    if sys.stdout is not None and sys.stdout.isatty():
        _print_aligned(lines)
    else:
        write_stdout("".join("\t".join(line) + "\n" for line in lines).encode("utf-8", "surrogateescape"))


def _print_aligned(lines: Sequence[Sequence[str]]) -> None:
    from rich.cells import cell_len
    from rich.text import Text

    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    # The last column needs no padding.
    widths[-1] = 0
    console = stdout_console()
    for line in lines:
        cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)]
        # Not wrapped here: a terminal wraps long lines by itself, and then copies them whole.
        console.print(Text("  ".join(cells), "bold" if line is lines[0] else ""), soft_wrap=True)
