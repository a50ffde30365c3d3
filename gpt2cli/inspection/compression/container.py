"""Compressed files and compressed short texts: what stands around the code.

A file begins with a header: the magic bytes, a part of the model's hash, and the names of the arithmetic and
the model, each after its length. The CRC-32 of what was compressed, and that of the code, end it as one sum,
because the last bits of a code may change without what they stand for. A short text has two bytes of
a hash and two of a checksum, and its characters are those that neither shells nor addresses change.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gpt2cli.errors import InputError
from gpt2cli.hub.checks.content_hashes import weights_hash
from gpt2cli.inspection.compression.arithmetic import arithmetic_of, each_arithmetic
from gpt2cli.inspection.compression.coding import SymbolDecoder, encode
from gpt2cli.inspection.compression.range_coder import damaged
from gpt2cli.inspection.compression.symbols import Symbol, pieces, symbols
from gpt2cli.model.loading import LoadedModel
from gpt2cli.ops.backend import choose_instruction_set
from gpt2cli.text.printable import escaped

# The last of them counts the versions of the format.
MAGIC = b"\xb9g2\x01"
HASH_BYTES = 8
CHECKSUM_BYTES = 4
SHORT_BYTES = 2
LONGEST_NAME = 255
# In place of + and /.
PRINTABLE = b"_."


@dataclass(frozen=True)
class Header:
    """What decompression needs: a part of the model's hash, and the names of its arithmetic and itself."""

    hash: bytes
    arithmetic: str
    model: str

    def to_bytes(self) -> bytes:
        """Return the header as it stands in a file."""
        names = (name.encode("utf-8", "replace")[:LONGEST_NAME] for name in (self.arithmetic, self.model))
        return MAGIC + self.hash + b"".join(bytes([len(name)]) + name for name in names)


def compress(loaded: LoadedModel, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield compressed bytes, a header first.

    Raises:
        Error: the model's backend does not promise the logits that a decoder sees, or produced NaN.
        OSError: a file of the model cannot be read.
    """
    checksum = 0

    def symbols_of() -> Iterator[Symbol]:
        nonlocal checksum
        for piece in pieces(chunks):
            checksum = zlib.crc32(piece, checksum)
            yield from symbols(piece, loaded.tokenizer)

    yield Header(_hash(loaded), arithmetic_of(loaded), loaded.files.name).to_bytes()
    code_sum = 0
    for code in encode(loaded, symbols_of()):
        code_sum = zlib.crc32(code, code_sum)
        yield code
    yield (checksum ^ code_sum).to_bytes(CHECKSUM_BYTES, "big")


def decompress(loaded: LoadedModel, chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Yield what was compressed; `name` is for messages.

    Raises:
        InputError: this is no compressed file, or damaged, or another model or arithmetic made it; a damaged
            one may have been decompressed in part.
        Error: as `compress` does.
    """
    rest = _Bytes(chunks)
    header = _read_header(rest, name)
    checksum = code_sum = 0

    def code() -> Iterator[bytes]:
        nonlocal code_sum
        for part in rest.until_last(CHECKSUM_BYTES):
            code_sum = zlib.crc32(part, code_sum)
            yield part

    parts = code()
    try:
        _require(header, loaded, name)
        for symbol in SymbolDecoder(loaded, parts):
            data = _bytes_of(symbol, loaded)
            checksum = zlib.crc32(data, checksum)
            yield data
    finally:
        choose_instruction_set(None)
    for _ in parts:
        pass
    if rest.last(CHECKSUM_BYTES) != (checksum ^ code_sum).to_bytes(CHECKSUM_BYTES, "big"):
        raise damaged()


def compress_text(loaded: LoadedModel, data: bytes) -> str:
    """Return a short text compressed to printable characters.

    Raises:
        Error, OSError: as `compress` does.
    """
    code = b"".join(encode(loaded, symbols(data, loaded.tokenizer)))
    whole = _short_hash(loaded, arithmetic_of(loaded)) + code + _short_checksum(data + code)
    return base64.b64encode(whole, PRINTABLE).rstrip(b"=").decode("ascii")


def decompress_text(loaded: LoadedModel, text: str) -> bytes:
    """Return the short text that was compressed to these characters.

    Raises:
        InputError: they are no compressed text, or damaged, or another model or arithmetic made them.
        Error, OSError: as `compress` does.
    """
    try:
        whole = base64.b64decode(text.strip() + "=" * (-len(text.strip()) % 4), PRINTABLE, validate=True)
    except ValueError:
        raise damaged() from None
    if len(whole) < 2 * SHORT_BYTES:
        raise damaged()
    try:
        if not any(whole.startswith(_short_hash(loaded, name)) for name in each_arithmetic(loaded)):
            raise InputError(
                f"Another model than {loaded.files.name} compressed this text, or another kind of processor.",
                "Name the `model` and the type of its weights that compressed it.",
            )
        code = whole[SHORT_BYTES:-SHORT_BYTES]
        data = b"".join(_bytes_of(symbol, loaded) for symbol in SymbolDecoder(loaded, [code]))
    finally:
        choose_instruction_set(None)
    if _short_checksum(data + code) != whole[-SHORT_BYTES:]:
        raise damaged()
    return data


class _Bytes:
    """Bytes that are read from the front, except for the last few."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""

    def take(self, count: int) -> bytes:
        """Return the next bytes, fewer at the end."""
        while len(self._held) < count and (chunk := next(self._chunks, None)) is not None:
            self._held += chunk
        taken, self._held = self._held[:count], self._held[count:]
        return taken

    def until_last(self, count: int) -> Iterator[bytes]:
        """Yield the bytes up to the last `count`."""
        while True:
            ready = self._held[: max(len(self._held) - count, 0)]
            self._held = self._held[len(ready) :]
            if ready:
                yield ready
            chunk = next(self._chunks, None)
            if chunk is None:
                return
            self._held += chunk

    def last(self, count: int) -> bytes:
        """Return the last `count` bytes, passing over any before them."""
        for chunk in self._chunks:
            self._held = (self._held + chunk)[-count:]
        return self._held[-count:]


def _read_header(rest: _Bytes, name: str) -> Header:
    if rest.take(len(MAGIC)) != MAGIC:
        raise InputError(f"{name} is not compressed by gpt2.")
    fingerprint = rest.take(HASH_BYTES)
    arithmetic, model = (rest.take(ord(rest.take(1) or b"\0")).decode("utf-8", "replace") for _ in range(2))
    return Header(fingerprint, arithmetic, model)


def _require(header: Header, loaded: LoadedModel, name: str) -> None:
    """Have the arithmetic of a header in use.

    Raises:
        InputError: the model or its arithmetic is another.
    """
    if header.hash != _hash(loaded):
        raise InputError(
            f"{name} was compressed with {escaped(header.model)}, whose files differ from those of "
            f"{loaded.files.name}.",
            "Name that `model`.",
        )
    if header.arithmetic not in each_arithmetic(loaded):
        raise InputError(
            f"{name} was compressed in {escaped(header.arithmetic)}, and this is {arithmetic_of(loaded)}.",
            "Use the same `dtype` or `quantize`, on a processor that has these instructions.",
        )


def _hash(loaded: LoadedModel) -> bytes:
    return weights_hash(loaded.files)[:HASH_BYTES]


def _short_hash(loaded: LoadedModel, arithmetic: str) -> bytes:
    return hashlib.sha256(weights_hash(loaded.files) + arithmetic.encode()).digest()[:SHORT_BYTES]


def _short_checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(CHECKSUM_BYTES, "big")[-SHORT_BYTES:]


def _bytes_of(symbol: Symbol, loaded: LoadedModel) -> bytes:
    return loaded.tokenizer.token_bytes(symbol.value) if symbol.is_token else bytes([symbol.value])
