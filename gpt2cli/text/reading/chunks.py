"""The bytes of a text from a file or a stream: decompressed, and without a byte order mark."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from io import BufferedReader, BytesIO
from pathlib import Path

from gpt2cli.errors import InputError
from gpt2cli.text.reading.compression import COMPRESSED_BLOCK_BYTES, decompressed, is_compressed
from gpt2cli.text.streaming.text_blocks import CHUNK_BYTES, read_chunks


def file_chunks(name: str, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield the bytes of a text in a file as they arrive, at most `size` at a time unless compressed.

    Raises:
        InputError: it cannot be read or decompressed.
    """
    try:
        with Path(name).open("rb") as file:
            if is_compressed(name):
                yield from without_bom(decompressed(read_chunks(file, COMPRESSED_BLOCK_BYTES), name))
            else:
                yield from stream_chunks(file, size)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}.") from error


def stream_chunks(stream: BufferedReader | BytesIO, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield the bytes of a text in a stream as they arrive, at most `size` at a time.

    Raises:
        OSError: it cannot be read.
    """
    return without_bom(read_chunks(stream, size))


def without_bom(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes without a byte order mark at the beginning."""
    rest = iter(chunks)
    begun = b""
    while len(begun) < len(BOM_UTF8) and BOM_UTF8.startswith(begun):
        chunk = next(rest, None)
        if chunk is None:
            break
        begun += chunk
    if begun := begun.removeprefix(BOM_UTF8):
        yield begun
    yield from rest
