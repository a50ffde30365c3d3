"""A progress bar for reading large inputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from gpt2cli.cli.output.messages import Messages, stderr_console

# A short-lived bar only flickers, and importing its library takes as long as a short command.
PATIENCE_SECONDS = 1.0


Watched = Callable[[Iterable[bytes]], Iterable[bytes]]


@contextmanager
def byte_progress(messages: Messages, total: int | None) -> Iterator[Watched]:
    """Yield a function that passes bytes through and shows how many; `total` is None if unknown."""
    if not messages.on_terminal:
        yield lambda chunks: chunks
        return
    started = time.monotonic()
    read = 0
    update: Callable[[int], None] | None = None
    with ExitStack() as stack:

        def watched(chunks: Iterable[bytes]) -> Iterator[bytes]:
            nonlocal read, update
            for chunk in chunks:
                yield chunk
                read += len(chunk)
                if update is None and time.monotonic() - started > PATIENCE_SECONDS:
                    update = stack.enter_context(_bar(messages.color, total))
                if update:
                    update(read)

        yield watched


@contextmanager
def _bar(color: str, total: int | None) -> Iterator[Callable[[int], None]]:
    from rich import progress

    from gpt2cli.cli.output.terminal.reset import cursor_shown_if_killed

    console = stderr_console(color)
    with (
        cursor_shown_if_killed([console]),
        progress.Progress(
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        ) as shown,
    ):
        task = shown.add_task("", total=total)
        yield lambda read: shown.update(task, completed=read)
