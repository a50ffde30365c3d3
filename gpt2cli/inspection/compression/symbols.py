"""Bytes as a model's tokens, and as themselves where the tokens cannot spell them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gpt2cli.errors import InputError
from gpt2cli.text.tokenizer import Tokenizer

# How many bytes are tokenized at once.
PIECE_BYTES = 4096
# The characters that stand for bytes that are not UTF-8.
_INVALID = re.compile("([\udc80-\udcff])")
# White space begins a token, so a cut before it costs nothing.
_CUT = re.compile(rb"(?s:.*)(?=[ \t\n\r])")
_CONTINUED = range(0x80, 0xC0)


class Symbol(NamedTuple):
    """A token, or a byte that no token spells."""

    value: int
    is_token: bool


def pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in pieces of at most `PIECE_BYTES`, cut before white space where there is some."""
    pending = b""
    for chunk in chunks:
        pending += chunk
        while len(pending) > PIECE_BYTES:
            cut = _cut(pending)
            yield pending[:cut]
            pending = pending[cut:]
    if pending:
        yield pending


def symbols(data: bytes, tokenizer: Tokenizer) -> Iterator[Symbol]:
    """Yield the symbols of a piece, which spell exactly its bytes."""
    for number, stretch in enumerate(_INVALID.split(data.decode("utf-8", "surrogateescape"))):
        if number % 2:
            yield _byte(ord(stretch) - 0xDC00, tokenizer)
        elif stretch:
            yield from _of_text(stretch, tokenizer)


def spells_all(tokenizer: Tokenizer) -> bool:
    """Return whether there is a token for each byte, so that no byte stands for itself."""
    try:
        return all(tokenizer.token_bytes(tokenizer.byte_id(byte)) == bytes([byte]) for byte in range(256))
    except InputError:
        return False


def _of_text(text: str, tokenizer: Tokenizer) -> Iterator[Symbol]:
    try:
        ids = tokenizer.encode(text, continues=True)
    except InputError:
        ids = []
    data = text.encode()
    if b"".join(map(tokenizer.token_bytes, ids)) == data:
        yield from (Symbol(token_id, True) for token_id in ids)
    elif len(text) > 1:
        # A tokenizer that changes some characters, to lower case perhaps, may keep the others.
        half = len(text) // 2
        yield from _of_text(text[:half], tokenizer)
        yield from _of_text(text[half:], tokenizer)
    else:
        yield from (_byte(byte, tokenizer) for byte in data)


def _byte(byte: int, tokenizer: Tokenizer) -> Symbol:
    try:
        token_id = tokenizer.byte_id(byte)
    except InputError:
        return Symbol(byte, False)
    is_spelled = tokenizer.token_bytes(token_id) == bytes([byte])
    return Symbol(token_id, True) if is_spelled else Symbol(byte, False)


def _cut(data: bytes) -> int:
    found = _CUT.match(data, 1, PIECE_BYTES + 1)
    if found and found.end():
        return found.end()
    # Between characters, if these are characters.
    cut = PIECE_BYTES
    while cut > PIECE_BYTES - 4 and data[cut] in _CONTINUED:
        cut -= 1
    return cut if data[cut] not in _CONTINUED else PIECE_BYTES
