"""A progress bar over the items of a study."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from gpt2cli.cli.output.messages import Messages, stderr_console
from gpt2cli.cli.output.progress.bytes import PATIENCE_SECONDS

Entry = TypeVar("Entry")


@contextmanager
def item_progress(
    messages: Messages, total: int, done: int = 0
) -> Iterator[Callable[[Iterable[Entry]], Iterable[Entry]]]:
    """Yield a function that passes items through and shows how many of `total`; `done` were there before."""
    if not messages.on_terminal:
        yield lambda entries: entries
        return
    started = time.monotonic()
    update: Callable[[int], None] | None = None
    with ExitStack() as stack:

        def watched(entries: Iterable[Entry]) -> Iterator[Entry]:
            nonlocal update
            for count, entry in enumerate(entries, done):
                if update is None and time.monotonic() - started > PATIENCE_SECONDS:
                    update = stack.enter_context(_bar(messages.color, total))
                if update:
                    update(count)
                yield entry

        yield watched


@contextmanager
def _bar(color: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich import progress

    from gpt2cli.cli.output.terminal.reset import cursor_shown_if_killed

    console = stderr_console(color)
    with (
        cursor_shown_if_killed([console]),
        progress.Progress(
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        ) as shown,
    ):
        task = shown.add_task("", total=total)
        yield lambda count: shown.update(task, completed=count)
