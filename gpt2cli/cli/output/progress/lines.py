"""A progress bar for lines that are answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from gpt2cli.cli.output.messages import Messages, stderr_console
from gpt2cli.cli.output.progress.bytes import PATIENCE_SECONDS
from gpt2cli.cli.output.streams import stdout_is_terminal

# Takes how many tokens the next line had.
LineDone = Callable[[int], None]


@contextmanager
def line_progress(
    messages: Messages, bytes_taken: Callable[[], int], total: int | None, to_stdout: bool
) -> Iterator[LineDone]:
    """Yield a function that counts lines and shows how many are done, at what speed, and the time left.

    The time follows from the bytes of the lines that were taken; `total` is None if their number is unknown.
    """
    # Answers on the same terminal would tear the bar.
    if not messages.on_terminal or (to_stdout and stdout_is_terminal()):
        yield lambda tokens: None
        return
    started = time.monotonic()
    lines = made = 0
    update: Callable[[int, float], None] | None = None
    with ExitStack() as stack:

        def count(tokens: int) -> None:
            nonlocal lines, made, update
            lines, made = lines + 1, made + tokens
            seconds = time.monotonic() - started
            if update is None and seconds > PATIENCE_SECONDS:
                update = stack.enter_context(_bar(messages.color, bytes_taken, total))
            if update:
                update(lines, made / seconds)

        yield count


@contextmanager
def _bar(
    color: str, bytes_taken: Callable[[], int], total: int | None
) -> Iterator[Callable[[int, float], None]]:
    from rich import progress

    from gpt2cli.cli.output.terminal.reset import cursor_shown_if_killed

    console = stderr_console(color)
    with (
        cursor_shown_if_killed([console]),
        progress.Progress(
            progress.TextColumn("{task.fields[lines]:,} lines"),
            progress.BarColumn(None),
            progress.TextColumn("{task.fields[speed]:,.0f} tokens/s"),
            progress.TimeRemainingColumn(compact=True),
            console=console,
            expand=True,
            transient=True,
        ) as shown,
    ):
        task = shown.add_task("", total=total, lines=0, speed=0.0)
        yield lambda lines, speed: shown.update(task, completed=bytes_taken(), lines=lines, speed=speed)
