"""Download progress on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpt2cli.cli.output.units import size_text
from gpt2cli.hub.reporter import Progress, Reporter
from gpt2cli.text.printable import escaped

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def bars(console: Console) -> Iterator[Progress]:
    """Yield a function that shows one progress bar per file."""
    from rich import progress as rich_progress

    from gpt2cli.cli.output.terminal.reset import cursor_shown_if_killed

    with (
        cursor_shown_if_killed([console]),
        rich_progress.Progress(
            # Brackets in a name are no markup.
            rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(),
            rich_progress.DownloadColumn(),
            rich_progress.TransferSpeedColumn(),
            rich_progress.TimeRemainingColumn(compact=True),
            console=console,
        ) as shown,
    ):
        tasks: dict[str, rich_progress.TaskID] = {}

        def update(file: str, done: int, size: int) -> None:
            if file not in tasks:
                tasks[file] = shown.add_task(escaped(file), total=size)
            shown.update(tasks[file], completed=done)

        yield update


def lines(reporter: Reporter, model: str) -> Progress:
    """Return a function that reports each file of a model when its download begins."""

    def note(file: str, done: int, size: int) -> None:
        if not done:
            reporter.note(f"Fetching {model}: {file} ({size_text(size)})")

    return note
