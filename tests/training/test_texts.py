"""The texts of a run: their formats and documents."""

from __future__ import annotations

import csv
import gzip
import io
import json
from codecs import BOM_UTF8
from pathlib import Path

import pytest
import zstandard
from conftest import Gpt2

from gpt2cli.errors import InputError
from gpt2cli.text.loading import bundled_tokenizer
from gpt2cli.training.data.sources import Sources
from gpt2cli.training.data.texts import TrainingTexts, learn_tokenizer

POEM = "The lark of green hills\nsings softly when the evening stills,\n\n"


@pytest.fixture
def poem(tmp_path: Path) -> Path:
    path = tmp_path / "poem.txt"
    path.write_text(POEM)
    return path


@pytest.mark.slow
def test_texts_json_lines_and_token_files_give_the_same_ids(gpt2: Gpt2, poem: Path, tmp_path: Path) -> None:
    lines, tokens = tmp_path / "poem.jsonl", tmp_path / "poem.u16"
    lines.write_text(json.dumps({"text": POEM}) + "\n")
    assert gpt2("tokenize", poem, "--format", "u16", "-o", tokens).returncode == 0
    tokenizer = bundled_tokenizer()
    rows = [
        TrainingTexts([str(path)], "marker", None).encode(tokenizer, tokenizer.vocab_size).tolist()
        for path in (poem, lines, tokens)
    ]
    assert rows[0] == [50256, *tokenizer.encode(POEM), 50256]
    assert rows[0] == rows[1] == rows[2]


def test_a_file_is_one_document_if_asked_for(poem: Path) -> None:
    poem.write_text("one\n<|endoftext|>\ntwo\n")
    assert len(TrainingTexts([str(poem)], "marker", None).documents) == 2
    assert TrainingTexts([str(poem)], "file", None).documents == ["one\n<|endoftext|>\ntwo\n"]


def test_texts_come_from_the_sources_that_are_given() -> None:
    class Memory(Sources):
        def title(self, source: str) -> str:
            return f"the text {source}"

        def read(self, source: str) -> str:
            return {"one": POEM, "two": ""}[source]

    texts = TrainingTexts(["one"], "marker", None, Memory())
    assert (texts.names, texts.documents) == (["the text one"], [POEM])
    with pytest.raises(InputError, match="the text two is empty"):
        TrainingTexts(["one", "two"], "marker", None, Memory())
    with pytest.raises(InputError, match="one: No such file"):
        TrainingTexts(["one"], "marker", None)


def table_of(documents: list[str], delimiter: str) -> str:
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=delimiter).writerows([["text"], *([document] for document in documents)])
    return written.getvalue()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", BOM_UTF8])
def test_a_text_of_windows_and_a_table_have_the_ids_of_the_text_with_lf(
    tmp_path: Path, newline: str, mark: bytes
) -> None:
    documents = ["One.\n\nTwo\n", 'Three, "four"\n']
    tokenizer = bundled_tokenizer()
    expected = [50256, *tokenizer.encode(documents[0]), 50256, *tokenizer.encode(documents[1]), 50256]
    lines = "\n".join(json.dumps({"text": text.replace("\n", newline)}) for text in documents)
    contents = {
        "x.txt": "<|endoftext|>\n".join(documents),
        "x.jsonl": lines,
        "x.csv": table_of(documents, ","),
        "x.tsv": table_of(documents, "\t"),
    }
    for name, content in contents.items():
        data = mark + content.replace("\r\n", "\n").replace("\n", newline).encode()
        packed = {name: data, f"{name}.gz": gzip.compress(data), f"{name}.zst": zstandard.compress(data)}
        for file, written in packed.items():
            (tmp_path / file).write_bytes(written)
            texts = TrainingTexts([str(tmp_path / file)], "marker", None)
            assert texts.encode(tokenizer, tokenizer.vocab_size).tolist() == expected, file


def test_a_folder_stands_for_all_its_texts(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("two")
    (tmp_path / "sub" / "c.csv").write_text("text\nthree\nfour\n")
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    (tmp_path / "d.u16").write_bytes(bytes([7, 0, 8, 0]))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    texts = TrainingTexts([str(tmp_path)], "marker", None)
    assert texts.documents == ["one", "two", "three", "four"]
    assert [row.tolist() for row in texts.rows] == [[7, 8]]
    assert texts.notes == [f"note: {tmp_path}/picture.png left out, not text"]
    assert TrainingTexts([f"{tmp_path}/**/*.csv"], "marker", None).documents == ["three", "four"]
    (tmp_path / "e.u16.gz").write_bytes(gzip.compress(b"\7\0"))
    with pytest.raises(InputError, match=r"e.u16.gz: token files are mapped into memory"):
        TrainingTexts([str(tmp_path / "e.u16.gz")], "marker", None)


def test_special_tokens_within_lines_are_ids_if_asked_for(poem: Path) -> None:
    poem.write_text("one<|endoftext|>two\n")
    tokenizer = bundled_tokenizer()
    texts = TrainingTexts([str(poem)], "marker", None)
    parsed = texts.encode(tokenizer, tokenizer.vocab_size, special=True).tolist()
    assert parsed == [50256, *tokenizer.encode("one"), 50256, *tokenizer.encode("two\n"), 50256]
    plain = texts.encode(tokenizer, tokenizer.vocab_size).tolist()
    assert plain == [50256, *tokenizer.encode("one<|endoftext|>two\n"), 50256]
    poem.write_text("<|endoftext|>ab" * 200)
    texts = TrainingTexts([str(poem)], "marker", None)
    learned = [learn_tokenizer(texts, 300, special).vocab_size for special in (True, False)]
    # All that is left to learn is ab.
    assert learned[0] == 258 < learned[1]
