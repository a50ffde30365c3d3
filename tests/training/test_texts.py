"""The texts of a run: their formats and documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Gpt2

from gpt2cli.errors import InputError
from gpt2cli.text.tokenizer import bundled_tokenizer
from gpt2cli.training.data.sources import Sources
from gpt2cli.training.data.texts import TrainingTexts

POEM = "The lark of green hills\nsings softly when the evening stills,\n\n"


@pytest.fixture
def poem(tmp_path: Path) -> Path:
    path = tmp_path / "poem.txt"
    path.write_text(POEM)
    return path


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
