"""Text with visible tokens: shaded on a terminal or in HTML, or separated by bars."""

from __future__ import annotations

import html
from array import array
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from gpt2cli.cli.output.streams import Write
from gpt2cli.cli.output.tokens import TokenWriter
from gpt2cli.errors import Error
from gpt2cli.text.printable import escaped
from gpt2cli.text.tokenizer import Tokenizer

# The rest of a character that began in the previous token.
CONTINUED = "…"
SEPARATOR = "│"
NEWLINE = "↵"
TAB = "⇥"

# Black on light blue and light yellow is readable on dark and light terminals.
SHADES = ("\x1b[38;5;16;48;5;153m", "\x1b[38;5;16;48;5;223m")
UNSHADED = "\x1b[0m"

HTML_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Tokens</title>
<style>
:root { color-scheme: light dark; --a: #bfdcf7; --b: #ffe2ab; --mark: #0006; }
@media (prefers-color-scheme: dark) { :root { --a: #1d4a70; --b: #66490f; --mark: #fff8; } }
pre { font: 1rem/1.8 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
pre span { background: var(--a); padding: .2em 0; border-radius: .15em; }
pre span:nth-of-type(2n) { background: var(--b); }
span:hover { outline: 2px solid; }
i { background: radial-gradient(circle, var(--mark) .08em, transparent .1em); }
b { color: var(--mark); font-weight: normal; user-select: none; }
.newline::before { content: "↵"; }
.tab::before { content: "⇥"; }
.continued::before { content: "…"; }
</style>
"""
HTML_MARKS = {" ": "<i> </i>", "\t": '<b class="tab"></b>\t', "\n": '<b class="newline"></b>\n'}
HTML_CONTINUED = '<b class="continued"></b>'


class Cell(NamedTuple):
    """A token as shown: the characters that begin in it, possibly none, and its bytes."""

    token_id: int
    text: str
    data: bytes


class Cells:
    """Assign the characters of a text to its tokens, as the tokens arrive."""

    def __init__(self, open_decoder: Callable[[], Callable[[int], bytes]]) -> None:
        self._open_decoder = open_decoder
        self._token_bytes = open_decoder()
        self._decoder = getincrementaldecoder("utf-8")("surrogateescape")
        self._waiting: list[tuple[int, bytes]] = []
        self._text = ""

    def add(self, ids: array[int]) -> Iterator[Cell]:
        """Yield cells up to the last complete character."""
        for token_id in ids:
            data = self._token_bytes(token_id)
            self._waiting.append((token_id, data))
            self._text += self._decoder.decode(data)
            if not self._decoder.getstate()[0]:
                yield from self._share_out()

    def end(self) -> Iterator[Cell]:
        """Yield the remaining cells at the end of the text."""
        self._text += self._decoder.decode(b"", final=True)
        yield from self._share_out()
        self._token_bytes = self._open_decoder()

    def _share_out(self) -> Iterator[Cell]:
        start = taken = end = 0
        for token_id, data in self._waiting:
            end += len(data)
            first = taken
            while taken < len(self._text) and start < end:
                start += len(self._text[taken].encode("utf-8", "surrogateescape"))
                taken += 1
            yield Cell(token_id, self._text[first:taken], data)
        self._waiting.clear()
        self._text = ""
        self._decoder.reset()


class TerminalView:
    """Draw cells as text, in alternating shades or separated by bars."""

    def __init__(self, color: bool) -> None:
        self._color = color
        self._count = 0
        self._at_line_start = True

    def draw(self, cell: Cell) -> str:
        """Return one token as text for the terminal."""
        shown = "".join(map(_visible, cell.text)) or CONTINUED
        self._count += 1
        was_at_line_start, self._at_line_start = self._at_line_start, shown.endswith("\n")
        if self._color:
            shade = SHADES[self._count % 2]
            # A shade across a newline would color the rest of the terminal line.
            return "\n".join(line and shade + line + UNSHADED for line in shown.split("\n"))
        return shown if was_at_line_start else SEPARATOR + shown

    def end(self) -> str:
        """Return the ending of a text's last line."""
        ending = "" if self._at_line_start else "\n"
        self._at_line_start = True
        self._count = 0
        return ending


class ShadedText(TokenWriter):
    """Write the text of sources with visible tokens, for a terminal."""

    def __init__(self, write: Write, tokenizer: Tokenizer, color: bool) -> None:
        super().__init__(write)
        self._view = TerminalView(color)
        self._cells = Cells(tokenizer.open_decoder)

    def add(self, ids: array[int]) -> None:
        self._draw(self._cells.add(ids))

    def end(self, error: Error | None = None) -> None:
        self._draw(self._cells.end())
        self._write(self._view.end().encode())

    def _draw(self, cells: Iterable[Cell]) -> None:
        self._write("".join(map(self._view.draw, cells)).encode())


class HtmlPage(TokenWriter):
    """Write a self-contained HTML page that shows the tokens of sources."""

    def __init__(self, write: Write, tokenizer: Tokenizer) -> None:
        super().__init__(write)
        self._cells = Cells(tokenizer.open_decoder)
        write(HTML_HEAD.encode())

    def start(self, source: str | None) -> None:
        super().start(source)
        self._write(b"<pre>")

    def add(self, ids: array[int]) -> None:
        self._write("".join(map(draw_html, self._cells.add(ids))).encode())

    def end(self, error: Error | None = None) -> None:
        self._write("".join(map(draw_html, self._cells.end())).encode() + b"</pre>\n")


def draw_html(cell: Cell) -> str:
    """Return a span for one token with a tooltip: its id, and its bytes if they are not text."""
    text = "".join(HTML_MARKS.get(character) or html.escape(escaped(character)) for character in cell.text)
    is_text = cell.data == cell.text.encode("utf-8", "replace")
    tooltip = f"{cell.token_id}" if is_text else f"{cell.token_id}: {cell.data.hex(' ')}"
    return f'<span title="{tooltip}">{text or HTML_CONTINUED}</span>'


def _visible(character: str) -> str:
    if character == "\n":
        return f"{NEWLINE}\n"
    return TAB if character == "\t" else escaped(character)
