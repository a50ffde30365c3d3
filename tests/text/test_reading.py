"""Texts as they are found: byte order marks, folders, patterns, line ends, special tokens spelled out."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gpt2_tokenizer import TOKENIZER
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.errors import InputError
from gpt2cli.text.reading.chunks import file_chunks, without_bom
from gpt2cli.text.reading.folders import named_files
from gpt2cli.text.reading.notes import TextNotes


@given(st.sampled_from([b"", BOM_UTF8, BOM_UTF8 * 2]), st.binary(max_size=6), st.integers(1, 4))
def test_a_byte_order_mark_is_dropped_as_python_drops_it(mark: bytes, rest: bytes, size: int) -> None:
    data = mark + rest
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    found = b"".join(without_bom(chunks))
    decoded = data.decode("utf-8-sig", "surrogateescape")
    assert found == decoded.encode("utf-8", "surrogateescape")


def test_what_a_pipe_has_is_not_held_back() -> None:
    def arriving() -> Iterator[bytes]:
        yield b"a"
        raise AssertionError("read too far")

    assert next(without_bom(arriving())) == b"a"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.txt", "sub/c", "sub/deep/d.md", ".hidden", ".git/config", "a-b/x.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8\0\1")
    (tmp_path / "ids.npy").write_bytes(b"\x93NUMPY\1\0")
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.fixture
def named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[str], list[str]]]:
    monkeypatch.chdir(folder)

    def names(*given: str, binary: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
        notes: list[str] = []
        return named_files(given, notes.append, binary), notes

    return names


def test_a_folder_means_its_texts_in_order_hidden_and_binary_ones_left_out(
    named: Callable[..., tuple[list[str], list[str]]],
) -> None:
    texts = ["a-b/x.txt", "a.txt", "b.txt", "sub/c", "sub/deep/d.md"]
    assert named(".") == (texts, ["note: ids.npy and 1 more left out, not text"])
    files, notes = named(".", binary=(".npy",))
    assert sorted(files) == sorted([*texts, "ids.npy"])
    assert notes == ["note: picture.jpg left out, not text"]
    assert named("sub", "b.txt", "-") == (["sub/c", "sub/deep/d.md", "b.txt", "-"], [])
    with pytest.raises(InputError, match="empty holds no text"):
        named("empty")


def test_a_pattern_means_the_files_that_match_it(
    named: Callable[..., tuple[list[str], list[str]]],
) -> None:
    assert named("*.txt")[0] == ["a.txt", "b.txt"]
    assert named("**/*.txt")[0] == ["a-b/x.txt", "a.txt", "b.txt"]
    assert named("sub/**")[0] == ["sub/c", "sub/deep/d.md"]
    assert named("su[b]")[0] == ["sub/c", "sub/deep/d.md"]
    assert named("*.zip")[0] == ["*.zip"]
    Path("[a].txt").write_text("exists")
    assert named("[a].txt")[0] == ["[a].txt"]


def test_what_is_no_name_at_all_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    names = ["x" * 5_000 + "?", "a\0b*"]
    assert named_files(names, lambda _: None) == names


def test_a_file_that_is_not_utf8_is_no_binary_file(folder: Path) -> None:
    (folder / "empty" / "latin1").write_bytes(b"caf\xe9")
    notes: list[str] = []
    assert named_files([str(folder / "empty")], notes.append) == [str(folder / "empty" / "latin1")]
    assert not notes


def test_a_missing_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path}/none: No such file or directory"):
        list(file_chunks(str(tmp_path / "none")))


def notes_on(*texts: str, special: bool = False, **options: bool | None) -> list[str]:
    found: list[str] = []
    notes = TextNotes(found.append, TOKENIZER, special, **options)  # type: ignore[arg-type]
    for text in texts:
        notes.check(text, "x")
    return found


def test_spelled_special_tokens_are_noted_once_unless_they_are_parsed() -> None:
    assert notes_on("a <|endoftext|> b", "<|endoftext|>") == [
        "note: x has <|endoftext|>, read as plain text; `special` parses special tokens"
    ]
    assert notes_on("a <|endoftext|> b", special=True) == []
    assert notes_on("<|startoftext|>a<|endoftext|>") == [
        "note: x has <|startoftext|> and <|endoftext|>, read as plain text; `special` parses special tokens"
    ]
    assert notes_on("<|startoftext|>a<|endoftext|>", special=True) == [
        "note: x has <|startoftext|>, read as plain text; this tokenizer has no such special token"
    ]
    assert notes_on("a < |endoftext| > b") == []


def test_a_line_of_the_separator_is_noted_where_nothing_splits_at_it() -> None:
    text = "one\n<|endoftext|>\ntwo\n"
    assert notes_on(text, separated=False) == [
        "note: x has <|endoftext|>, read as plain text; `split` endoftext ends documents at its lines"
    ]
    assert notes_on(text, separated=True) == []
    assert len(notes_on(text + "a <|endoftext|>", separated=True)) == 1


def test_cr_lf_is_noted_once_where_asked_for() -> None:
    (note,) = notes_on("a\r\nb", "c\r\n", crlf=True)
    assert note == "note: x has CR LF line ends, and CR is read as text; `newlines` lf drops it"
    assert notes_on("a\r\nb") == notes_on("a\nb\r", crlf=True) == []
