"""Compressed files: gzip's own and those of two Zstandard libraries, whole, chained, cut off and damaged."""

from __future__ import annotations

import gzip
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.errors import InputError
from gpt2cli.text.reading.chunks import file_chunks
from gpt2cli.text.reading.compression import ZSTD_MODULES, decompressed, without_compression

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Compress = Callable[[bytes], bytes]
TEXT = "".join(f"Line {n} of a naïve text, {n * 7919 % 1000}!\n" for n in range(30_000)).encode()
COMPRESSORS = {".gz": gzip.compress, ".zst": zstandard.compress}
each_format = pytest.mark.parametrize(("suffix", "compress"), COMPRESSORS.items(), ids=COMPRESSORS)


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@each_format
@given(texts=st.lists(st.binary(max_size=50), min_size=1, max_size=4), size=st.integers(1, 40))
def test_streams_one_after_the_other_are_one_text(
    suffix: str, compress: Compress, texts: list[bytes], size: int
) -> None:
    data = b"".join(map(compress, texts))
    assert b"".join(decompressed(in_pieces(data, size), "x" + suffix)) == b"".join(texts)


@each_format
def test_a_long_file_is_read_block_by_block(tmp_path: Path, suffix: str, compress: Compress) -> None:
    path = tmp_path / f"long.txt{suffix.upper()}"
    text = TEXT + random.Random(0).randbytes(200_000).hex().encode()
    path.write_bytes(compress(text))
    chunks = list(file_chunks(str(path)))
    assert b"".join(chunks) == text
    assert len(chunks) > 1


@each_format
def test_what_is_cut_off_or_damaged_is_refused_by_name(
    tmp_path: Path, suffix: str, compress: Compress
) -> None:
    data = compress(TEXT)
    path = tmp_path / f"bad{suffix}"
    for content, message in [(data[:-5], "is cut off"), (TEXT, "is damaged, or is not")]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{path} {message}"):
            list(file_chunks(str(path)))
    path.write_bytes(b"")
    assert not list(file_chunks(str(path)))


def test_padding_with_zeros_is_no_text() -> None:
    assert b"".join(decompressed([gzip.compress(b"a") + bytes(512), bytes(9)], "x.gz")) == b"a"


@pytest.mark.parametrize("module", [zstd.__name__, "zstandard"])
def test_either_library_reads_zstandard_with_the_largest_window(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 30}
    data = zstd.ZstdCompressor(options=options).compress(TEXT, zstd.ZstdCompressor.FLUSH_FRAME)
    for other in {*ZSTD_MODULES} - {module}:
        monkeypatch.setitem(sys.modules, other, None)
    assert b"".join(decompressed([data], "x.zst")) == TEXT


def test_without_a_library_the_message_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ZSTD_MODULES:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"^x.zst needs .* pip install zstandard") as raised:
        list(decompressed([b"x"], "x.zst"))
    assert "\n" not in str(raised.value)


def test_the_name_within_decides_the_format() -> None:
    names = ["a.jsonl.gz", "b.csv.ZST", "c.txt", "gz"]
    assert [without_compression(name) for name in names] == ["a.jsonl", "b.csv", "c.txt", "gz"]
