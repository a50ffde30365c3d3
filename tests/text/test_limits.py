"""Texts that would have to be held whole: refused in one line beyond a limit, and the same below it."""

from __future__ import annotations

from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.cli.input import line_feed, lines
from gpt2cli.cli.input.text import read_bytes
from gpt2cli.errors import InputError
from gpt2cli.scoring import scored_text
from gpt2cli.scoring.scored_text import split_texts
from gpt2cli.serving import tables
from gpt2cli.text.loading import bundled_tokenizer
from gpt2cli.text.reading import limits
from gpt2cli.text.streaming import stream_encoder
from gpt2cli.text.streaming.stream_encoder import StreamEncoder
from gpt2cli.text.tokenizer import Tokenizer

MOST = 40
SOURCES = st.lists(
    st.sampled_from([END_OF_TEXT, "\n", "\r\n", "\r", "a", "é b", f"\n{END_OF_TEXT}\r\n", f"x{END_OF_TEXT}"])
).map("".join)


@pytest.fixture
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the limit reached soon."""
    for module in (limits, lines, line_feed, scored_text, stream_encoder, tables):
        monkeypatch.setattr(module, "MOST_HELD", MOST)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "texts.csv"


@pytest.mark.usefixtures("low")
def test_a_long_line_is_named(source: Path) -> None:
    source.write_text("short\n" + "a" * MOST + "\n")
    assert [line.number for block in lines.line_blocks([str(source)]) for line in block] == [1, 2]
    source.write_text("short\n" * 20 + "a" * (MOST + 1))
    with pytest.raises(InputError, match=rf"texts.csv, line 21: the line has more than {MOST} bytes\.$"):
        list(lines.line_blocks([str(source)]))


@pytest.mark.usefixtures("low")
def test_a_long_text_that_is_held_whole_is_refused(source: Path) -> None:
    source.write_text("a" * MOST)
    assert len(read_bytes(str(source))) == MOST
    source.write_text("a" * (MOST + 1))
    with pytest.raises(InputError, match=rf"texts.csv has more than {MOST} bytes, too many to hold at once"):
        read_bytes(str(source))


@pytest.mark.usefixtures("low")
@pytest.mark.parametrize("rows", ["a" * (MOST + 1), '"' + "a\n" * MOST])
def test_a_table_is_refused_for_a_long_line_or_cell(source: Path, rows: str) -> None:
    source.write_text("text,n\n1,2\n" + rows)
    feed = line_feed.open_feed(line_feed.ByteSource(str(source)), "text", lambda number: True)
    assert feed.take(wait=True)
    with pytest.raises(InputError, match=f"(more than {MOST} bytes|larger than field limit .{MOST}.)"):
        feed.take(wait=True)


@given(SOURCES, st.integers(1, 9), st.sampled_from(["line", "endoftext"]))
def test_documents_of_a_source_in_parts_are_those_of_the_whole(text: str, size: int, split: object) -> None:
    parts = (text[start : start + size] for start in range(0, len(text), size))
    found = [vars(document) for document in split_texts(parts, split)]  # type: ignore[arg-type]
    assert found == [vars(document) for document in split_texts(text, split)]  # type: ignore[arg-type]
    for document in found:
        start = document["start"]
        assert text[start:].startswith(document["content"])
        assert document["byte_start"] == len(text[:start].encode())


@pytest.mark.usefixtures("low")
@pytest.mark.parametrize("split", [None, "line", "endoftext"])
def test_of_a_source_in_parts_one_document_is_held(split: object) -> None:
    ends = {None: "", "line": "\n", "endoftext": f"\n{END_OF_TEXT}\n"}
    many = ("a" * 10 + ends[split] for _ in range(1 if split is None else 20))  # type: ignore[index]
    assert len(list(split_texts(many, split))) == (1 if split is None else 20)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f" has more than {MOST} characters, too many to hold at once"):
        list(split_texts(("a" for _ in range(MOST + 1)), split))  # type: ignore[arg-type]


@pytest.mark.usefixtures("low")
def test_a_tokenizer_that_needs_the_whole_text_is_given_no_more_than_can_be_held() -> None:
    library = tokenizers.Tokenizer.from_str(bundled_tokenizer()._library.to_str())
    library.normalizer = tokenizers.normalizers.NFC()
    encoder = StreamEncoder(Tokenizer(library, ModelConfig()))
    assert list(encoder.encode([b"a" * MOST], "f"))
    with pytest.raises(InputError, match=f"f has more than {MOST} bytes"):
        list(encoder.encode([b"a" * MOST, b"a"], "f"))
