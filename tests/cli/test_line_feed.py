"""Lines as they arrive: from files, pipes and tables."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.cli.input import line_feed
from gpt2cli.cli.input.line_feed import ByteSource, JsonLineFeed, TableFeed, open_feed
from gpt2cli.errors import InputError, UsageError
from gpt2cli.serving.lines import Line


def everything(line: int) -> bool:
    return True


def taken(feed: JsonLineFeed | TableFeed) -> list[Line]:
    lines = []
    while line := feed.take(wait=True):
        lines.append(line)
    assert feed.ended
    return lines


def file_lines(path: Path, data: bytes, field: str | None = None) -> list[Line]:
    path.write_bytes(data)
    return taken(open_feed(ByteSource(str(path)), field, everything))


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[tuple[str, BinaryIO]]:
    """Yield the name of a pipe and its other end."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    # Open for both, so that neither end waits for the other.
    with os.fdopen(os.open(path, os.O_RDWR), "wb", buffering=0, closefd=True) as end:
        yield str(path), end


@given(st.lists(st.binary(max_size=12)), st.booleans(), st.integers(1, 9))
def test_lines_are_those_of_the_file_whatever_its_blocks(parts: list[bytes], ends: bool, size: int) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        TemporaryDirectory() as folder,
    ):
        patch.setattr(line_feed, "BLOCK_BYTES", size)
        data = b"\n".join(parts) + b"\n" * ends
        expected = [
            (number, line)
            for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)
            if line.strip()
        ]
        found = file_lines(Path(folder, "lines"), data)
        assert [(line.number, line.data) for line in found] == expected


def test_lines_that_are_not_wanted_count(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"1\n2\n\n4\n5\n6")
    feed = open_feed(ByteSource(str(path)), None, lambda number: number % 2 == 0)
    assert taken(feed) == [Line(2, b"2"), Line(4, b"4"), Line(6, b"6")]


def test_a_line_is_taken_when_it_is_whole_and_nobody_waits_for_the_next(fifo: tuple[str, BinaryIO]) -> None:
    name, end = fifo
    feed = open_feed(ByteSource(name), None, everything)
    assert feed.take(wait=False) is None
    end.write(b"one\ntw")
    assert feed.take(wait=False) == Line(1, b"one")
    assert feed.take(wait=False) is None
    assert not feed.ended
    end.write(b"o\nthree")
    assert feed.take(wait=True) == Line(2, b"two")


def test_a_row_is_taken_when_it_is_whole(fifo: tuple[str, BinaryIO]) -> None:
    name, end = fifo
    end.write(b'text,n\n"one\ntwo",1\nthree,2\n')
    feed = open_feed(ByteSource(name), "text", everything)
    rows = [feed.take(wait=False), feed.take(wait=False)]
    assert [row and json.loads(row.data)["text"] for row in rows] == ["one\ntwo", "three"]
    assert feed.take(wait=False) is None
    assert not feed.ended


def test_a_line_without_end_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_feed, "MOST_HELD", 100)
    monkeypatch.setattr(line_feed, "BLOCK_BYTES", 30)
    for data in (b"x" * 1000 + b"\n", b"x" * 1000):
        (line, *rest) = file_lines(tmp_path / "a", data + b"short")
        assert line == Line(1, b"", "The line has more than 100 bytes.")
        assert rest == ([Line(2, b"short")] if data.endswith(b"\n") else [])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b"n,text\n1,One two\n"),
        ("a.tsv", b"n\ttext\r\n1\tOne two\r\n"),
        ("a", b'n,text\n1,"One two"'),
        ("a", b"n\ttext\n1\tOne two"),
        ("a", b'{"n": "1", "text": "One two"}'),
        ("a.jsonl", b'\xef\xbb\xbf{"n": "1", "text": "One two"}\n\n'),
        ("a.csv.gz", gzip.compress(b"n,text\n1,One two\n", mtime=0)),
    ],
)
def test_a_field_is_found_in_any_kind_of_table(tmp_path: Path, name: str, data: bytes) -> None:
    (line,) = file_lines(tmp_path / name, data, "text")
    assert json.loads(line.data) == {"n": "1", "text": "One two"}


def test_a_source_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        ByteSource(str(tmp_path / "none"))
    with pytest.raises(InputError, match="Is a directory"):
        ByteSource(str(tmp_path))
    with pytest.raises(UsageError, match="has no column 'text'"):
        file_lines(tmp_path / "a.csv", b"a,b\n", "text")


def test_a_digest_tells_files_apart_and_a_grown_one_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one\ntwo\n")
    before = ByteSource(str(path)).digest()
    path.write_bytes(b"one\ntwo\nthree\n")
    grown = ByteSource(str(path))
    assert grown.digest() != before == grown.digest(before["bytes"])
    path.write_bytes(b"one\nTwo\n")
    assert ByteSource(str(path)).digest() != before


def test_a_pipe_is_known_by_its_first_line_which_is_not_lost(fifo: tuple[str, BinaryIO]) -> None:
    name, end = fifo
    end.write(b"one\ntwo\n")
    source = ByteSource(name)
    assert source.digest().keys() == {"first_line"}
    feed = open_feed(source, None, everything)
    assert [feed.take(wait=False), feed.take(wait=False)] == [Line(1, b"one"), Line(2, b"two")]
