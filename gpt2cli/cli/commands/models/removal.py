"""The removal of models: what goes, the question before, and the bytes freed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from gpt2cli.cli.output.messages import Messages, print_message
from gpt2cli.cli.output.table import print_table
from gpt2cli.errors import UsageError
from gpt2cli.hub.removal import Removal, remove


def remove_with_consent(removals: Sequence[Removal], yes: bool, messages: Messages) -> None:
    """Remove files and folders and print them, after asking unless `yes`.

    Raises:
        UsageError: there is no terminal to ask on.
        Exit: the answer is no.
        OSError: something cannot be removed.
    """
    if not yes:
        _ask(removals)
    remove(removals)
    print_removals(removals)
    messages.note(f"Freed {sum(removal.size for removal in removals):,} bytes.")


def print_removals(removals: Sequence[Removal]) -> None:
    """Print what is removed, and the bytes that frees."""
    print_table(("BYTES", "PATH"), [(str(removal.size), str(removal.path)) for removal in removals])


def _ask(removals: Sequence[Removal]) -> None:
    if not all(stream and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise UsageError("There is no terminal to ask on.", "Use --yes to remove without being asked.")
    for removal in removals:
        print_message(f"{removal.path} ({removal.size:,} bytes)")
    print("Remove this? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Exit(1)
