"""Tables on stdout: aligned on a terminal, tab-separated in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpt2cli.cli.output.streams import stdout_is_terminal, write_stdout
from gpt2cli.text.printable import visible

# As Python decodes them.
BYTES = "".join(map(chr, range(0xDC80, 0xDD00)))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], words: int | None = None) -> None:
    """Print rows under a header; columns after the first `words` contain numbers.

    On a terminal, paths are shortened, columns dropped or cells stacked so that every line fits.

    Raises:
        InputError: stdout is closed.
        OSError: writing failed.
    """
    lines = [header, *rows]
    if stdout_is_terminal():
        from gpt2cli.cli.output.terminal.aligned_table import table_lines

        printed = table_lines(lines, words or len(header))
    else:
        # Bytes of a path that are not UTF-8 stay, so that scripts find it.
        printed = ("\t".join(visible(cell, BYTES) for cell in line) for line in lines)
    write_stdout("".join(f"{line}\n" for line in printed).encode("utf-8", "surrogateescape"))
