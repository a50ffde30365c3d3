"""The places of tokens in texts that their tokenizer changes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import load_checkpoint, save_checkpoint
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers_of_kinds import KINDS

from gpt2cli.hub.model_files import find_model
from gpt2cli.scoring.rows import line_rows
from gpt2cli.scoring.scored_text import ScoredToken, Text, scored_tokens, split_texts
from gpt2cli.scoring.text_scorer import TextScorer
from gpt2cli.scoring.windows import Scheme
from gpt2cli.scoring.words import begins_word, word_rows
from gpt2cli.text.loading import load_tokenizer
from gpt2cli.text.tokenizer import Tokenizer

# A text outside of its vocabulary has no places.
CHANGING = sorted(KINDS.keys() - {"characters"})
SOURCE = "\n\n The QUICK  naïve fox.\r\n\r\nCafe\u0301, e\u0301\n ▁fox 👍 \n"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    folders = {}
    for kind, make in KINDS.items():
        folder = tmp_path_factory.mktemp(kind)
        library = make()
        library.save(str(folder / "tokenizer.json"))
        folders[kind] = folder, save_checkpoint(folder, vocab_size=library.get_vocab_size())
    return folders


@pytest.fixture(scope="module")
def tokenizers(folders: dict[str, tuple[Path, Any]]) -> dict[str, Tokenizer]:
    return {kind: opened(folder) for kind, (folder, _) in folders.items()}


def opened(folder: Path) -> Tokenizer:
    files = find_model(str(folder))
    assert files is not None
    return load_tokenizer(files, files.read_config())


@pytest.mark.parametrize("kind", CHANGING)
@example(source=SOURCE)
@example(source="")
@given(source=st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \n\r▁é<>A"), max_size=30))
@settings(max_examples=settings().max_examples * 3 // 5)
def test_places_are_those_in_the_source(tokenizers: dict[str, Tokenizer], kind: str, source: str) -> None:
    tokenizer = tokenizers[kind]
    data = source.encode()
    for text in split_texts(source, None, "lf"):
        tokens = list(scored_tokens(text, tokenizer.encode(text.content), [], tokenizer))
        for token in tokens:
            assert data[token.byte_start : token.byte_end].replace(b"\r\n", b"\n") == token.data
            given_text = source[token.start : token.end].replace("\r\n", "\n")
            # The parts of a split character share its place.
            assert token.data in given_text.encode()
        for word in word_rows(iter(tokens), "bits"):
            assert source[word.start : word.end] == word.text
            assert data[word.byte_start : word.byte_end].decode() == word.text


@pytest.mark.parametrize("kind", CHANGING)
def test_words_and_lines_are_those_of_the_text_as_given(tokenizers: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = tokenizers[kind]
    text = Text("\n The QUICK fox's den.\n\nCafe\u0301 👍 time \n")
    tokens = list(scored_tokens(text, tokenizer.encode(text.content), [], tokenizer))
    words = [row.text for row in word_rows(iter(tokens), "bits")]
    assert words == text.content.split()
    lines = [row.tokens for row in line_rows(text, iter(scored(tokens)), "bits")]
    assert len(lines) == 4
    assert sum(lines) == len(tokens)
    counted = [len(tokenizer.encode(line)) for line in text.content.splitlines()]
    if kind in ("gpt1", "words"):
        assert lines == counted


def scored(tokens: list[ScoredToken]) -> list[ScoredToken]:
    return [ScoredToken(**{**vars(token), "logprob": -1.0}) for token in tokens]


@pytest.mark.parametrize("kind", ["gpt1", "words", "llama2", "metaspace", "smollm"])
def test_the_probability_of_a_word_fits_what_its_tokens_say_of_its_ends(
    folders: dict[str, tuple[Path, Any]], tokenizers: dict[str, Tokenizer], kind: str
) -> None:
    folder, reference = folders[kind]
    tokenizer = tokenizers[kind]
    scorer = TextScorer(load_checkpoint(folder), tokenizer, Scheme(0, 48, 24), 48)
    _, _, tokens = next(scorer.tokens([(None, Text("a fox upon den"))], words=True))
    rows = list(word_rows(tokens, "nats"))
    assert [row.text for row in rows] == ["a", "fox", "upon", "den"]
    ids = [0, *tokenizer.encode("a fox upon den")]
    with torch.no_grad():
        logprobs = reference(torch.tensor([ids])).logits[0].log_softmax(-1).double()
    if kind in ("gpt1", "words"):
        # A token that ends a word says so itself.
        for row in rows:
            assert row.surprisal_corrected == pytest.approx(row.surprisal, abs=1e-4)
        return
    starts = torch.tensor(begins_word(tokenizer, logprobs.shape[1]))
    place = 0
    for number, row in enumerate(rows):
        end = place + row.tokens
        found = sum(logprobs[at, ids[at + 1]].item() for at in range(place, end))
        before = logprobs[place][starts].exp().sum().item()
        if number == 0 and kind == "smollm":
            # Only the tokens of this kind have no space at the start of a text.
            before = 1 - before
        after = logprobs[end][starts].exp().sum().item()
        expected = -found - math.log(after) + math.log(before)
        assert row.surprisal_corrected == pytest.approx(expected, abs=1e-3)
        place = end
