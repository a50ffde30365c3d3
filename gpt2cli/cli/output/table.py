"""Tables on stdout: aligned on a terminal, tab-separated in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpt2cli.cli.output.streams import stdout_is_terminal, write_stdout


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

        shown = "".join(f"{line}\n" for line in table_lines(lines, words or len(header)))
    else:
        shown = "".join("\t".join(line) + "\n" for line in lines)
    write_stdout(shown.encode("utf-8", "surrogateescape"))
