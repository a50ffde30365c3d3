"""The keys of `explore`, and the terminal that it draws on."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2cli.checkpoint.ending_signals import undone_if_killed
from gpt2cli.cli.exploring.screen import Screen
from gpt2cli.errors import Error, UsageError
from gpt2cli.inspection.exploration.exploration import Exploration
from gpt2cli.inspection.exploration.saving import load, save
from gpt2cli.inspection.exploration.text_tree import TextTree

if TYPE_CHECKING:
    from prompt_toolkit.application import Application

INSTALL = "pip install 'gpt2cli[explore]'"
TOKENS_AT_A_GO = 20
LIST_LINES = 11
# Out of the second screen, with a cursor and without style.
LEAVE = b"\x1b[?1049l\x1b[?25h\x1b[0m"


def require_terminal() -> None:
    """Check that there is a terminal and what draws on it.

    Raises:
        UsageError: there is no terminal, or it cannot move its cursor.
        Error: the package that draws is not installed.
    """
    for stream in (sys.stdin, sys.stdout):
        if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
            raise UsageError("explore draws on a terminal and reads keys from it.", "For text, use generate.")
    try:
        import prompt_toolkit  # noqa: F401
    except ImportError as error:
        raise Error(
            "explore needs the package prompt_toolkit, which is not installed.", f"Install it: {INSTALL}"
        ) from error


def run(exploration: Exploration, path: Path | None) -> None:
    """Explore until the user quits, and leave the terminal as it was; `path` is where the tree is saved.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C.
    """
    import termios

    attributes = termios.tcgetattr(0)

    def leave() -> None:
        os.write(1, LEAVE)
        termios.tcsetattr(0, termios.TCSANOW, attributes)

    with ExitStack() as stack:
        stack.enter_context(undone_if_killed(leave))
        Keys(Screen(exploration), path).application().run(handle_sigint=False)


class Keys:
    """What each key does."""

    def __init__(self, screen: Screen, path: Path | None) -> None:
        self.screen = screen
        self._path = path
        self._going = False
        self._asks = ""
        self._answer: Callable[[str], None] = lambda _: None
        self._may_quit = False

    def application(self) -> Application[None]:
        """Return the application to run."""
        from prompt_toolkit.application import Application, get_app
        from prompt_toolkit.buffer import Buffer
        from prompt_toolkit.filters import Condition
        from prompt_toolkit.layout import HSplit, Layout, VSplit, Window
        from prompt_toolkit.layout.containers import ConditionalContainer
        from prompt_toolkit.layout.controls import BufferControl, FormattedTextControl
        from prompt_toolkit.layout.dimension import Dimension
        from prompt_toolkit.output import ColorDepth

        screen = self.screen
        self._line = Buffer(multiline=False, accept_handler=self._accept)
        self._asking = Condition(lambda: bool(self._asks))
        control = FormattedTextControl(
            lambda: screen.text(get_app().output.get_size().columns), focusable=True, show_cursor=False
        )
        listed = FormattedTextControl(screen.list, show_cursor=False)
        question = Window(FormattedTextControl(lambda: self._asks), dont_extend_width=True, height=1)
        self._question = Window(BufferControl(self._line), height=1)
        self._text = Window(control, wrap_lines=True)
        body = HSplit(
            [
                Window(FormattedTextControl(screen.title), height=1, style="reverse"),
                self._text,
                Window(FormattedTextControl(screen.heading), height=1, style="reverse"),
                Window(listed, height=Dimension(min=1, preferred=LIST_LINES, max=LIST_LINES)),
                ConditionalContainer(VSplit([question, self._question]), self._asking),
                ConditionalContainer(Window(FormattedTextControl(screen.bottom), height=1), ~self._asking),
            ]
        )
        # Styles without color look the same on every terminal.
        return Application(
            Layout(body, self._text),
            key_bindings=self._bindings(),
            full_screen=True,
            color_depth=ColorDepth.DEPTH_1_BIT,
        )

    def _bindings(self) -> Any:
        from prompt_toolkit.key_binding import KeyBindings

        screen, exploration = self.screen, self.screen.exploration
        keys = KeyBindings()
        actions: dict[str, Callable[[], object]] = {
            "left": lambda: self._tree.move(-1),
            "right": lambda: self._tree.move(1),
            "home": lambda: self._tree.move(-len(self._tree.path)),
            "end": lambda: self._tree.move(len(self._tree.path)),
            "up": lambda: screen.choose(-1),
            "down": lambda: screen.choose(1),
            "enter": lambda: exploration.take(screen.rows[screen.chosen].token_id),
            "space": exploration.sample,
            "tab": lambda: self._tree.switch(1),
            "s-tab": lambda: self._tree.switch(-1),
            "u": self._undo,
            "t": lambda: exploration.warm(-1),
            "T": lambda: exploration.warm(1),
            "p": lambda: exploration.widen(-1),
            "P": lambda: exploration.widen(1),
            "w": lambda: self._ask("Write: ", exploration.write),
            "s": lambda: self._ask("Save as: ", self._save, str(self._path or "")),
            "o": lambda: self._ask("Open: ", self._open, str(self._path or "")),
            "?": lambda: setattr(screen, "shows_keys", not screen.shows_keys),
        }
        for key, action in actions.items():
            keys.add(key, filter=~self._asking)(self._doing(action))
        keys.add("g", filter=~self._asking)(self._go)
        keys.add("q", filter=~self._asking)(self._quit)
        keys.add("escape", filter=self._asking, eager=True)(lambda event: self._end_question(event.app))
        keys.add("c-c")(lambda event: event.app.exit(exception=KeyboardInterrupt))
        keys.add("c-z")(lambda event: event.app.suspend_to_background())
        return keys

    @property
    def _tree(self) -> TextTree:
        # Another one after a file was opened.
        return self.screen.exploration.tree

    def _doing(self, action: Callable[[], object]) -> Callable[[Any], None]:
        def handle(_: Any) -> None:
            self._going = self._may_quit = False
            self._try(action)

        return handle

    def _try(self, action: Callable[[], object]) -> None:
        self.screen.status = ""
        try:
            action()
        except Error as error:
            self.screen.status = f"Error: {error}"

    def _undo(self) -> None:
        if not self.screen.exploration.undo():
            self.screen.status = "There is nothing to undo."

    def _go(self, event: Any) -> None:
        if self._going:
            self._going = False
            return
        self._going = True
        event.app.create_background_task(self._draw_several(event.app))

    async def _draw_several(self, app: Any) -> None:
        try:
            for number in range(TOKENS_AT_A_GO):
                if not self._going:
                    break
                first = number == 0
                self._try(lambda first=first: self.screen.exploration.sample(continues=not first))  # type: ignore[misc]
                app.invalidate()
                # Keys are read and the screen is drawn in between.
                await asyncio.sleep(0.001)
        finally:
            self._going = False

    def _quit(self, event: Any) -> None:
        if self.screen.exploration.saved or self._may_quit:
            event.app.exit()
            return
        self._may_quit = True
        self.screen.status = "The tree is not saved: s saves it, q again quits."

    def _ask(self, question: str, answer: Callable[[str], None], default: str = "") -> None:
        self._asks, self._answer = question, answer
        self._line.text = default
        self._line.cursor_position = len(default)
        self._focus(self._question)

    def _accept(self, buffer: Any) -> bool:
        text, answer = buffer.text, self._answer
        self._end_question(None)
        if text:
            self._try(lambda: answer(text))
        return False

    def _end_question(self, _: Any) -> None:
        self._asks = ""
        self._focus(self._text)

    def _focus(self, window: Any) -> None:
        from prompt_toolkit.application.current import get_app

        get_app().layout.focus(window)

    def _save(self, name: str) -> None:
        path = Path(name).expanduser()
        save(self.screen.exploration, path)
        self._path = path
        self.screen.status = f"Saved {path}."

    def _open(self, name: str) -> None:
        path = Path(name).expanduser()
        load(self.screen.exploration, path)
        self._path = path
        self.screen.status = f"Opened {path}."
