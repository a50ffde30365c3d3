"""Positions of tokens in their text, and their grouping into words and lines."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import load_checkpoint, save_model_folder
from gpt2_tokenizer import TOKENIZER
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.hub.model_files import find_model
from gpt2cli.scoring.rows import TokenRow, Totals, line_rows, text_row, token_rows
from gpt2cli.scoring.scored_text import ScoredToken, Text, scored_tokens, split_texts
from gpt2cli.scoring.settings import Split
from gpt2cli.scoring.text_scorer import TextScorer
from gpt2cli.scoring.windows import Scheme
from gpt2cli.scoring.words import WordRow, begins_word, word_rows
from gpt2cli.text.loading import load_tokenizer
from gpt2cli.text.tokenizer import Tokenizer

VOCABULARY = 320
CONTEXT = 96
TRICKY = 'The cat  sat.\n\n\tNaïve 👍🏽 "quotes"\r\nand   end '


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("words")
    reference = save_model_folder(folder, vocab_size=VOCABULARY, n_positions=CONTEXT)
    return folder, reference


@pytest.fixture(scope="module")
def tokenizer(checkpoint: tuple[Path, Any]) -> Tokenizer:
    files = find_model(str(checkpoint[0]))
    assert files is not None
    return load_tokenizer(files, load_checkpoint(checkpoint[0]).config)


def tokens_of(checkpoint: Path, tokenizer: Tokenizer, text: str, bos: bool = True) -> list[ScoredToken]:
    scheme = Scheme(tokenizer.bos_id if bos else None, CONTEXT, CONTEXT // 2)
    scorer = TextScorer(load_checkpoint(checkpoint), tokenizer, scheme, CONTEXT)
    _, _, tokens = next(scorer.tokens([(None, Text(text))], words=True))
    return list(tokens)


def unscored(text: str, tokenizer: Tokenizer) -> list[ScoredToken]:
    return list(scored_tokens(Text(text), tokenizer.encode(text), [], tokenizer))


def token(data: bytes, logprob: float | None = -1.0) -> ScoredToken:
    return ScoredToken(0, 0, data, 0, len(data), 0, len(data), logprob, None, None, None, None)


def surprisals(text: str, reference: Any, tokenizer: Tokenizer) -> list[float]:
    """Return the nats of each token after BOS, as minicons and surprisal compute them."""
    ids = tokenizer.encode(text)
    with torch.no_grad():
        table = torch.log_softmax(reference(torch.tensor([[tokenizer.bos_id, *ids]])).logits[0], -1)
    return [-float(table[place, token_id]) for place, token_id in enumerate(ids)]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_offsets_find_each_token_in_its_text(text: str) -> None:
    data = text.encode()
    tokens = unscored(text, TOKENIZER)
    assert b"".join(token.data for token in tokens) == data
    for found in tokens:
        assert data[found.byte_start : found.byte_end] == found.data
        assert found.start == len(data[: found.byte_start].decode(errors="ignore"))
        assert found.end == len(data[: found.byte_end].decode(errors="replace"))


def test_the_parts_of_a_split_character_share_its_place() -> None:
    first, second = unscored("👍", TOKENIZER)
    assert (first.start, first.end, second.start, second.end) == (0, 1, 0, 1)
    assert (first.byte_start, first.byte_end, second.byte_start, second.byte_end) == (0, 3, 3, 4)
    spaced = unscored("a 👍", TOKENIZER)
    assert [(part.start, part.end) for part in spaced[1:]] == [(1, 3), (2, 3)]
    assert [row.text for row in token_rows([first, second], "bits")] == [
        "bytes:\\xf0\\x9f\\x91",
        "bytes:\\x8d",
    ]


def test_a_later_text_counts_from_the_beginning_of_its_source() -> None:
    text = Text("é x", 2, start=10, byte_start=12)
    tokens = list(scored_tokens(text, TOKENIZER.encode(text.content), [], TOKENIZER))
    assert (tokens[0].start, tokens[0].byte_start) == (10, 12)
    assert (tokens[-1].end, tokens[-1].byte_end) == (13, 16)


def test_token_rows_are_of_the_unit_and_tell_nothing_where_nothing_came_before(
    checkpoint: tuple[Path, Any], tokenizer: Tokenizer
) -> None:
    tokens = tokens_of(checkpoint[0], tokenizer, TRICKY)
    bits, nats = list(token_rows(tokens, "bits")), list(token_rows(tokens, "nats"))
    expected = surprisals(TRICKY, checkpoint[1], tokenizer)
    assert [row.surprisal for row in nats] == pytest.approx(expected, abs=1e-4)
    for bit, nat in zip(bits, nats, strict=True):
        assert nat.surprisal is not None
        assert bit.surprisal == pytest.approx(nat.surprisal / math.log(2))
        assert nat.probability == bit.probability == pytest.approx(math.exp(-nat.surprisal))
        assert nat.entropy is not None
        assert bit.entropy == pytest.approx(nat.entropy / math.log(2))
    first = next(token_rows(tokens_of(checkpoint[0], tokenizer, TRICKY, bos=False), "bits"))
    assert first == TokenRow(1, first.text, first.id, 0, 1, 0, 1, None, None, None, None)


def test_words_are_what_white_space_parts(checkpoint: tuple[Path, Any], tokenizer: Tokenizer) -> None:
    rows = list(word_rows(tokens_of(checkpoint[0], tokenizer, TRICKY), "nats"))
    assert [row.text for row in rows] == TRICKY.split()
    assert all(TRICKY[row.start : row.end] == row.text for row in rows)
    data = TRICKY.encode()
    assert all(data[row.byte_start : row.byte_end].decode() == row.text for row in rows)
    assert [row.index for row in rows] == list(range(1, len(rows) + 1))


def test_a_word_is_the_sum_of_its_tokens_and_the_space_before(
    checkpoint: tuple[Path, Any], tokenizer: Tokenizer
) -> None:
    text = "once upon\na time"
    tokens = tokens_of(checkpoint[0], tokenizer, text)
    by_character = dict.fromkeys(range(len(text)), 0.0)
    for place, nats in zip(tokens, surprisals(text, checkpoint[1], tokenizer), strict=True):
        by_character[place.start] += nats
    bounds = [(0, 4), (4, 9), (9, 11), (11, 16)]
    expected = [sum(by_character[place] for place in range(*bound)) for bound in bounds]
    rows = list(word_rows(tokens, "nats"))
    assert [row.surprisal for row in rows] == pytest.approx(expected, abs=1e-4)
    assert [row.entropy for row in rows] == [
        next(token.entropy for token in tokens if token.start == start) for start, _ in bounds
    ]


@pytest.mark.parametrize("text", ["once upon a time", " once\nupon", "one", "a\n"])
def test_corrected_words_equal_an_enumeration_of_the_vocabulary(
    checkpoint: tuple[Path, Any], tokenizer: Tokenizer, text: str
) -> None:
    ids = tokenizer.encode(text)
    with torch.no_grad():
        logits = checkpoint[1](torch.tensor([[tokenizer.bos_id, *ids]])).logits[0].double()
    following = torch.softmax(logits, -1).tolist()

    def begins(token_id: int) -> bool:
        return token_id == tokenizer.eos_id or tokenizer.token_bytes(token_id)[:1] in (
            *(b" ", b"\n", b"\t", b"\r", b"\x0b", b"\x0c"),
        )

    rows = list(word_rows(tokens_of(checkpoint[0], tokenizer, text), "nats"))
    read = 0
    for row in rows:
        # The probability of the word's tokens followed by any token that begins another word ...
        first = read
        joint = 1.0
        while len(tokenizer.decode(ids[:read])) < row.byte_end:
            joint *= following[read][ids[read]]
            read += 1
        joint = sum(joint * following[read][token_id] for token_id in range(VOCABULARY) if begins(token_id))
        # ... given that a word begins here: with white space, or without any at the beginning of a text.
        marked = first > 0 or text[:1].isspace()
        given_that = sum(
            following[first][token_id] for token_id in range(VOCABULARY) if begins(token_id) == marked
        )
        assert row.surprisal_corrected == pytest.approx(-math.log(joint / given_that), abs=1e-4)


def test_a_word_that_was_not_scored_whole_has_no_surprisal(
    checkpoint: tuple[Path, Any], tokenizer: Tokenizer
) -> None:
    first, second = word_rows(tokens_of(checkpoint[0], tokenizer, "Unseen words", bos=False), "bits")
    assert (first.surprisal, first.surprisal_corrected, first.entropy) == (None, None, None)
    assert second.surprisal is not None
    assert second.surprisal_corrected is not None


def test_white_space_alone_is_no_word(checkpoint: tuple[Path, Any], tokenizer: Tokenizer) -> None:
    assert not list(word_rows(tokens_of(checkpoint[0], tokenizer, " \n\n"), "bits"))
    (row,) = word_rows(tokens_of(checkpoint[0], tokenizer, " \n x \n"), "bits")
    assert isinstance(row, WordRow)
    assert row.text == "x"


def test_tokens_that_begin_a_word_begin_with_white_space_or_end_the_text() -> None:
    starts = begins_word(TOKENIZER, TOKENIZER.vocab_size)
    for text, begins in [(" the", True), ("the", False), ("\n", True), (" ", True), (".", False)]:
        (token_id,) = TOKENIZER.encode(text)
        assert starts[token_id] == begins
    assert starts[50256]


def test_totals_count_words_across_tokens() -> None:
    totals = Totals()
    for data in (b"The", b" ca", b"t", b".", b"\n", b"\n", b"A", b" ", b" dog"):
        totals.add(token(data))
    assert (totals.words, totals.tokens, totals.bytes, totals.nats) == (4, 9, 16, 9.0)


def test_totals_leave_out_what_was_not_scored() -> None:
    totals = Totals()
    for data, logprob in ((b"Un", None), (b"seen", -1.0), (b" word", -2.0)):
        totals.add(token(data, logprob))
    summary = totals.summary("nats")
    assert (summary.tokens, summary.words, summary.bytes, summary.surprisal) == (2, 1, 9, 3.0)
    assert summary.perplexity == pytest.approx(math.exp(1.5))
    assert summary.word_perplexity == pytest.approx(math.exp(3.0))
    assert summary.bits_per_byte == pytest.approx(3.0 / 9 / math.log(2))


def test_ratios_that_do_not_exist_are_none() -> None:
    summary = Totals().summary("bits")
    assert (summary.surprisal, summary.mean_surprisal, summary.perplexity) == (None, None, None)
    totals = Totals()
    for _ in range(3):
        totals.add(token(b"x", -400.0))
    assert totals.summary("bits").word_perplexity is None
    assert totals.summary("bits").perplexity == pytest.approx(math.exp(400))


@pytest.mark.parametrize("text", ["one\n\ntwo\r\nthree", "a\n", "\n\n\n", "", "no end"])
def test_lines_are_those_of_the_text_and_share_out_its_tokens(
    checkpoint: tuple[Path, Any], tokenizer: Tokenizer, text: str
) -> None:
    tokens = tokens_of(checkpoint[0], tokenizer, text)
    rows = list(line_rows(Text(text), iter(tokens), "bits"))
    assert [row.text for row in rows] == text.splitlines()
    assert [row.line for row in rows] == list(range(1, len(rows) + 1))
    assert all(text[row.start : row.end] == row.text for row in rows)
    assert sum(row.tokens for row in rows) == len(tokens)
    assert sum(row.surprisal or 0.0 for row in rows) == pytest.approx(
        -sum(token.logprob or 0.0 for token in tokens) / math.log(2)
    )


@pytest.mark.parametrize("split", [None, "line", "endoftext"])
def test_with_lf_every_place_is_still_that_in_the_source(tokenizer: Tokenizer, split: Split | None) -> None:
    source = "\r\n\r\né one  two\r\n\r\n three\n\r\n<|endoftext|>\r\nfour 👍\rx\r\nfive\r\n"
    data = source.encode()
    lines = source.replace("\r\n", "\n").split("\n")
    for text in split_texts(source, split, "lf"):
        assert "\r\n" not in text.content
        tokens = list(scored_tokens(text, tokenizer.encode(text.content), [], tokenizer))
        for token in tokens:
            assert data[token.byte_start : token.byte_end].replace(b"\r\n", b"\n") == token.data
        for word in word_rows(iter(tokens), "bits"):
            assert source[word.start : word.end] == word.text
            assert data[word.byte_start : word.byte_end].decode() == word.text
        for line in line_rows(text, iter(tokens), "bits"):
            assert source[line.start : line.end] == line.text in lines
            assert data[line.byte_start : line.byte_end].decode() == line.text
        row = text_row(text, Totals().summary("bits"))
        assert source[row.start : row.end].replace("\r\n", "\n") == text.content
        assert data[row.byte_start : row.byte_end].decode().replace("\r\n", "\n") == text.content


def test_a_source_is_split_by_lines_or_by_separators() -> None:
    source = "é one\r\n\ntwo\n<|endoftext|>\nthree <|endoftext|>\n<|endoftext|>\n<|endoftext|>"
    (whole,) = split_texts(source, None)
    assert (whole.content, whole.start) == (source, 0)
    parts = list(split_texts(source, "endoftext"))
    assert [part.content for part in parts] == ["é one\r\n\ntwo\n", "three <|endoftext|>\n"]
    lines = list(split_texts(source, "line"))
    assert [line.content for line in lines][:2] == ["é one", "two"]
    for part in (*parts, *lines):
        assert source[part.start :].startswith(part.content)
        assert source.encode()[part.byte_start :].startswith(part.content.encode())
    assert [part.number for part in parts] == [1, 2]
    # Empty lines have numbers too, as they have in an editor.
    assert [line.number for line in lines] == [1, 3, 4, 5, 6, 7]
    assert [part.content for part in split_texts("", None)] == [""]
    assert not list(split_texts("\n", "line"))
