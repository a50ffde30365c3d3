"""Bytes on a terminal that can neither move the cursor nor hide anything."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpt2cli.text.printable import visible

if TYPE_CHECKING:
    from gpt2cli.cli.output.streams import Write


@contextmanager
def spelled_controls(write: Write) -> Iterator[Write]:
    """Yield a function that writes text in UTF-8, in pieces, with escapes for control characters.

    Bytes that are not UTF-8 become escapes too. Tabs and line ends stay, CR LF among them.
    """
    decoder = getincrementaldecoder("utf-8")("surrogateescape")
    # A carriage return, until it is known whether a newline follows.
    held = ""

    def write_shown(data: bytes, is_last: bool = False) -> None:
        nonlocal held
        text = held + decoder.decode(data, is_last)
        held = "\r" if text.endswith("\r") and not is_last else ""
        if shown := "\r\n".join(map(visible, text.removesuffix(held).split("\r\n"))):
            write(shown.encode())

    yield write_shown
    write_shown(b"", is_last=True)
