"""Two models on one text: against `score`, and against torch's divergence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from checkpoints import save_model_folder
from inspected_models import saved

from gpt2cli.errors import UsageError
from gpt2cli.inspection.difference import Comparison, TokenDifference, WordDifference, aligned, largest
from gpt2cli.inspection.settings import DiffSettings
from gpt2cli.language_model import LanguageModel, load
from gpt2cli.scoring.report import score_rows
from gpt2cli.scoring.settings import ScoringSettings
from gpt2cli.scoring.words import WordRow

TEXT = "The cat sat on the mat.\nA naïve dog barked at it."
TOLERANCE = 1e-4


def compared(settings: DiffSettings | None = None, text: str = TEXT) -> tuple[Comparison, list[Any]]:
    pair = saved("gpt2").load(), saved("gpt2", seed=1).load()
    comparison = Comparison(pair, text, settings or DiffSettings())
    return comparison, comparison.rows()


@pytest.mark.parametrize("by", ["token", "word"])
@pytest.mark.parametrize("more", [{}, {"bos": False, "unit": "nats"}, {"window": 16, "stride": 4}])
def test_both_surprisals_are_what_score_measures(by: Any, more: dict[str, Any]) -> None:
    _, rows = compared(DiffSettings(by=by, **more))
    column = "surprisal" if by == "token" else "surprisal_corrected"
    for number, seed in enumerate((0, 1), 1):
        settings = ScoringSettings(by=by, **{"window": 48, **more})
        scored: list[Any] = score_rows(saved("gpt2", seed=seed).load(), TEXT, settings)
        assert [(row.text, row.start, row.end) for row in rows] == [
            (row.text, row.start, row.end) for row in scored
        ]
        for row, score in zip(rows, scored, strict=True):
            assert getattr(row, f"surprisal_{number}") == getattr(score, column)
    for row in rows:
        missing = row.surprisal_1 is None
        assert row.difference == (None if missing else pytest.approx(row.surprisal_2 - row.surprisal_1))


@pytest.mark.parametrize("window", [None, 16])
def test_divergences_equal_those_of_torch(window: int | None) -> None:
    comparison, rows = compared(DiffSettings(unit="nats", window=window, stride=window and 4))
    ids = [0, *(row.id for row in rows)]
    size, stride = comparison.metadata["window"], comparison.metadata["stride"]
    starts = [0] * len(ids)
    end = min(size, len(ids))
    while end < len(ids):
        first, end = end + 1, min(end + stride, len(ids))
        for place in range(first, end + 1):
            if place < len(ids):
                starts[place] = end - size
    for place, row in enumerate(rows, 1):
        inside = ids[starts[place] : place]
        one, other = (
            torch.log_softmax(saved("gpt2", seed=seed).outputs(inside).logits[0, -1].double(), -1)
            for seed in (0, 1)
        )
        expected = torch.nn.functional.kl_div(other, one, log_target=True, reduction="sum").item()
        assert row.kl_divergence == pytest.approx(expected, abs=TOLERANCE)


def test_a_model_differs_from_itself_in_nothing() -> None:
    model = saved("gpt2").load()
    comparison = Comparison((model, model), TEXT, DiffSettings())
    rows = comparison.rows()
    assert all(row.difference == 0.0 for row in rows)
    assert all(isinstance(row, TokenDifference) and row.kl_divergence == 0.0 for row in rows)
    assert "mean divergence 0.000 bits" in comparison.summary(rows)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("other")
    save_model_folder(folder, vocab_size=290, n_positions=40)
    return load(str(folder), backend="numpy", threads=1)


def test_different_tokenizers_compare_by_word(other: LanguageModel) -> None:
    model = saved("gpt2").load()
    comparison = Comparison((model, other), TEXT, DiffSettings())
    assert (comparison.by, comparison.metadata["window"]) == ("word", 40)
    rows = comparison.rows()
    assert [row.text for row in rows] == TEXT.split()
    settings = ScoringSettings(by="word", window=40)
    scores: list[list[Any]] = [score_rows(loaded, TEXT, settings) for loaded in (model, other)]
    for row, one, two in zip(rows, *scores, strict=True):
        assert isinstance(row, WordDifference)
        assert (row.surprisal_1, row.surprisal_2) == (one.surprisal_corrected, two.surprisal_corrected)
        assert (row.tokens_1, row.tokens_2) == (one.tokens, two.tokens)
    with pytest.raises(UsageError, match=r"The tokenizers of .* differ"):
        Comparison((model, other), TEXT, DiffSettings(by="token"))


def test_a_window_fits_both_models(other: LanguageModel) -> None:
    with pytest.raises(UsageError, match="A window of 48 exceeds the model's context of 40"):
        Comparison((saved("gpt2").load(), other), TEXT, DiffSettings(window=48))


@pytest.mark.slow
def test_models_of_different_families_compare_by_token() -> None:
    rows = Comparison((saved("gpt2").load(), saved("llama").load()), TEXT, DiffSettings()).rows()
    assert all(isinstance(row, TokenDifference) and row.kl_divergence is not None for row in rows)


def word(start: int, end: int) -> WordRow:
    return WordRow(1, "w", start, end, start, end, 1.0, 1.0, 1.0, 1)


def test_words_that_one_tokenizer_joins_are_compared_as_one() -> None:
    ones = [word(0, 3), word(4, 8), word(9, 12)]
    others = [word(0, 8), word(9, 12)]
    for left, right in ((ones, others), (others, ones)):
        pairs = list(aligned(left, right))
        assert [[(row.start, row.end) for row in group] for pair in pairs for group in pair] == [
            [(row.start, row.end) for row in left if row.end <= 8],
            [(row.start, row.end) for row in right if row.end <= 8],
            [(9, 12)],
            [(9, 12)],
        ]


def test_the_largest_differences_come_first() -> None:
    _, rows = compared()
    found = largest(rows, 3)
    sizes = sorted((abs(row.difference) for row in rows), reverse=True)
    assert [abs(row.difference or 0.0) for row in found] == sizes[:3]


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        compared(text="")
