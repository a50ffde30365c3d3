"""Messages on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Timer
from typing import TYPE_CHECKING

from gpt2cli.hub.reporter import Progress, Reporter

if TYPE_CHECKING:
    from rich.console import Console

    from gpt2cli.cli.output.progress.stopwatch import Stopwatch

# In seconds. Most work ends before rich could be imported.
SPINNER_DELAY = 0.3


class Messages(Reporter):
    """Messages on stderr, as quiet or verbose as requested."""

    def __init__(
        self,
        quiet: bool = False,
        verbose: bool = False,
        color: str = "auto",
        watch: Stopwatch | None = None,
    ) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self.color = color
        self._watch = watch

    def note(self, text: str) -> None:
        """Print one line, unless quiet."""
        if not self.quiet:
            print_message(text)

    def detail(self, text: str) -> None:
        """Print one line, if verbose."""
        if self.verbose:
            self.note(text)

    @property
    def on_terminal(self) -> bool:
        """Whether stderr is a terminal on which progress may be drawn."""
        return not self.quiet and sys.stderr is not None and sys.stderr.isatty()

    def finish(self, phase: str) -> None:
        """Record the time since the previous phase ended, if there is a stopwatch."""
        if self._watch:
            self._watch.lap(phase)

    @contextmanager
    def fetching(self, model: str) -> Iterator[Progress]:
        """Yield a function that shows download progress: bars on a terminal, else one line per file."""
        from gpt2cli.cli.output.progress.download import bars, lines

        if self.on_terminal:
            with bars(stderr_console(self.color)) as progress:
                yield progress
        else:
            yield lines(self, model)

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Show a spinner on a terminal if the block takes longer than a moment."""
        if not self.on_terminal:
            yield
            return
        from gpt2cli.cli.output.terminal.reset import cursor_shown_if_killed

        drawn_on: list[Console] = []
        with ExitStack() as shown, cursor_shown_if_killed(drawn_on):

            def show() -> None:
                from rich.text import Text

                drawn_on.append(stderr_console(self.color))
                # Brackets in a name are no markup.
                shown.enter_context(drawn_on[0].status(Text(printable(text))))

            timer = Timer(SPINNER_DELAY, show)
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
                timer.join()


def print_message(text: str) -> None:
    """Print one line on stderr, with parameters spelled as options, and escapes for what is not printable."""
    if sys.stderr is None:
        return
    if "`" in text:
        from gpt2cli.cli.spelling import spell

        text = spell(text)
    print(printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return a text in one line, in which no name or value from elsewhere can act on a terminal."""
    if text.isprintable():
        return text
    from gpt2cli.text.printable import escaped

    return escaped(text)


def stderr_console(color: str = "auto") -> Console:
    """Return a rich console on stderr; color is auto, always or never."""
    # Importing rich takes as long as a short command.
    from rich.console import Console

    return Console(
        stderr=True,
        force_terminal=True if color == "always" else None,
        no_color=True if color == "never" else None,
        highlight=False,
    )
