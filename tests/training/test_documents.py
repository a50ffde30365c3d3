"""Texts and token files as one sequence of ids, and the held-out part."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.errors import InputError
from gpt2cli.text.bpe_training import SMALLEST_VOCABULARY, suitable_vocab_size, train_tokenizer
from gpt2cli.text.tokenizer import Tokenizer
from gpt2cli.training.data.documents import (
    HELD_OUT_TOKENS,
    count_documents,
    hold_out,
    join_documents,
    parse_json_lines,
    parse_table,
    read_token_file,
    split_documents,
)

TEXT = "The cat sat on the mat. The dog sat on the log.\n" * 40


def test_lines_of_the_marker_separate_documents_and_the_marker_elsewhere_is_text() -> None:
    text = "one\n<|endoftext|>\ntwo <|endoftext|> still\r\n<|endoftext|>\r\n\n<|endoftext|>\n<|endoftext|>"
    assert split_documents(text) == ["one\n", "two <|endoftext|> still\r\n"]
    assert split_documents("no marker\n") == ["no marker\n"]


def test_json_lines_give_one_field_of_each_object() -> None:
    text = '{"text": "a\\n", "id": 1}\n\n{"text": "é\u2028é"}\n{"text": " "}\n'
    assert parse_json_lines(text, "text", "x") == ["a\n", "é\u2028é"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": 1}', "x, line 2 has no text in 'text'"),
        ("[]", "x, line 2 has no text in 'text'"),
        ("{", "x, line 2 is not JSON"),
        ('{"text": "\\ud800"}', "half a surrogate"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_json_lines('{"text": "fine"}\n' + line, "text", "x")


def test_tables_give_one_column_whatever_its_cells_hold() -> None:
    documents = ["one, two\n\nthree", 'a "quote"', "x" * 200_000, "\ttab", "é"]
    for delimiter in ",\t":
        written = io.StringIO(newline="")
        writer = csv.writer(written, delimiter=delimiter)
        writer.writerows([["id", "text"], *enumerate(documents), [9, " "]])
        assert parse_table(written.getvalue(), delimiter, "text", "x") == documents
        assert parse_table(written.getvalue(), delimiter, "id", "x") == ["0", "1", "2", "3", "4", "9"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id,body\n1,a\n", "x has no column 'text', only 'id', 'body'. Name one in `field`."),
        ("text\na,b\n", "x, line 2: 2 cells under a header of 1. Quote texts that contain the delimiter."),
        ("id,text\n1\n", "x, line 2: 1 cells under a header of 2."),
        ('text\n"a\nb\n', "x, line 3: unexpected end of data."),
        ('text\n"a"b\n', "x, line 2: ',' expected after '\"'."),
    ],
)
def test_a_table_of_another_form_is_refused_with_its_line(table: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        parse_table(table, ",", "text", "x")


def test_token_files_of_all_kinds_hold_the_same_ids(tmp_path: Path) -> None:
    ids = [0, 1, 500, 65_535]
    np.array(ids, "<u2").tofile(tmp_path / "x.u16")
    np.array(ids, "<u4").tofile(tmp_path / "x.u32")
    np.save(tmp_path / "x.npy", np.array(ids, np.int64))
    for name in ("x.u16", "x.u32", "x.npy"):
        assert read_token_file(tmp_path / name).tolist() == ids


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.u16", b"", "is empty"),
        ("x.u16", b"abc", "cut off: 3 bytes"),
        ("x.npy", b"abc", "not a .npy file"),
        ("x.npy", np.zeros((2, 2), np.uint16), "not one row"),
        ("x.npy", np.zeros(3), "not one row"),
        ("x.npy", np.array([{}]), "not a .npy file"),
        ("none.u32", None, "No such file"),
    ],
)
def test_what_is_no_token_file_is_refused(tmp_path: Path, name: str, content: Any, message: str) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        np.save(tmp_path / name, content)
    with pytest.raises(InputError, match=message):
        read_token_file(tmp_path / name)


def test_documents_are_joined_by_one_end_of_text_id_each() -> None:
    ids = join_documents([[5, 6], np.array([0, 7, 0, 8, 0]), [9]], 0, 10)
    assert ids.tolist() == [0, 5, 6, 0, 7, 0, 8, 0, 9, 0]
    assert count_documents(ids, 0) == 4
    assert join_documents([[5, 6]], None, 10).tolist() == [5, 6]
    assert count_documents(join_documents([[1] * 9], 0, 70_000), 0) == 1
    assert join_documents([[1]], 0, 65_536).dtype == np.uint16
    assert join_documents([[1]], 0, 65_537).dtype == np.uint32


def test_ids_that_the_model_lacks_and_documents_that_cannot_be_joined_are_refused() -> None:
    with pytest.raises(InputError, match="have token 10, but the vocabulary ends at 9"):
        join_documents([[10]], 0, 10)
    with pytest.raises(InputError, match="no end-of-text token to put between 2 documents"):
        join_documents([[1], [2]], None, 10)


def test_the_end_is_held_out_and_nothing_is_lost() -> None:
    ids = np.arange(1, 10_001)
    train, valid = hold_out(ids, 0)
    assert valid.size == 500
    assert np.concatenate([train, valid]).tolist() == ids.tolist()
    assert hold_out(np.arange(1, 10_000_001), 0)[1].size == HELD_OUT_TOKENS


def test_whole_documents_are_held_out_where_there_are_many() -> None:
    ids = join_documents([[1] * 7] * 50, 0, 10)
    train, valid = hold_out(ids, 0)
    assert train[-1] == valid[0] == valid[-1] == 0
    assert count_documents(train, 0) + count_documents(valid, 0) == 50
    assert count_documents(valid, 0) == 3


@pytest.mark.parametrize("text", [TEXT, "a", "naïve 🙂 \x00\r\n\t" * 3])
def test_a_trained_tokenizer_spells_every_byte_and_gives_text_back(text: str) -> None:
    library = train_tokenizer([text], 300)
    size = library.get_vocab_size()
    assert SMALLEST_VOCABULARY <= size <= 300
    assert library.token_to_id("<|endoftext|>") == 0
    tokenizer = Tokenizer(library, ModelConfig(vocab_size=size))
    assert tokenizer.eos_id == 0
    every = text + "".join(map(chr, range(0x250))) + "語🙂<|endoftext|>"
    ids = tokenizer.encode(every)
    assert tokenizer.decode(ids) == every.encode()
    assert 0 not in ids


def test_merges_follow_the_text_and_do_not_cross_words() -> None:
    tokenizer = Tokenizer(train_tokenizer([TEXT], 300), ModelConfig(vocab_size=300))
    assert tokenizer.encode(" sat on the") == [
        token for word in (" sat", " on", " the") for token in tokenizer.encode(word)
    ]
    assert len(tokenizer.encode(" sat on the")) == 3


def test_a_longer_text_gets_a_larger_vocabulary() -> None:
    sizes = [suitable_vocab_size(size) for size in (1, 24_000, 1_000_000, 28_000_000, 10**10)]
    assert sizes == [512, 512, 512, 4_096, 32_768]
