"""Compressed files: gzip by the standard library, Zstandard by Python 3.14 or an installed package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from pathlib import PurePath
from typing import Any, NamedTuple

from gpt2cli.errors import InputError

# What one block expands to should fit the memory, and some texts shrink to a thousandth.
COMPRESSED_BLOCK_BYTES = 1 << 16
ZSTD_MODULES = ("compression.zstd", "backports.zstd", "zstandard")


class _Codec(NamedTuple):
    """The name of a format, a function that begins to decompress, and what it raises."""

    name: str
    new: Callable[[], Any]
    error: type[Exception]


def is_compressed(name: str) -> bool:
    """Return whether a file is decompressed when it is read, by its suffix."""
    return PurePath(name).suffix.lower() in _CODECS


def without_compression(name: str) -> str:
    """Return the name that a file has once it is decompressed."""
    return name[: -len(PurePath(name).suffix)] if is_compressed(name) else name


def decompressed(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Yield the content of a compressed file as its bytes arrive.

    Raises:
        InputError: nothing here reads the format, or the file is damaged or cut off.
    """
    codec = _CODECS[PurePath(name).suffix.lower()](name)
    decompressor: Any = None
    for chunk in chunks:
        # A file may hold several compressed streams, one after the other, and zeros as padding.
        rest = chunk if decompressor else chunk.lstrip(b"\0")
        while rest:
            decompressor = decompressor or codec.new()
            try:
                content = decompressor.decompress(rest)
            except codec.error as error:
                raise InputError(f"{name} is damaged, or is not {codec.name}.") from error
            rest = decompressor.unused_data.lstrip(b"\0") if decompressor.eof else b""
            if decompressor.eof:
                decompressor = None
            if content:
                yield content
    if decompressor:
        raise InputError(f"{name} is cut off.", "Fetch or compress it again.")


def _gzip(_: str) -> _Codec:
    import zlib

    return _Codec("gzip", lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), zlib.error)


def _zstd(name: str) -> _Codec:
    for module in ZSTD_MODULES:
        try:
            library: Any = import_module(module)
        except ImportError:
            continue
        return _Codec("Zstandard", partial(_open_zstd, library), library.ZstdError)
    raise InputError(
        f"{name} needs a reader of Zstandard.", "Install one with pip install zstandard, or run zstd -d."
    )


def _open_zstd(library: Any) -> Any:
    # Both are the most that any file may ask for, as those of `zstd --long=31` do.
    if hasattr(library, "DecompressionParameter"):
        return library.ZstdDecompressor(options={library.DecompressionParameter.window_log_max: 31})
    return library.ZstdDecompressor(max_window_size=1 << 31).decompressobj()


_CODECS = {".gz": _gzip, ".zst": _zstd}
