"""The corrections for white space, as the tools that they are named after compute them."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from checkpoints import save_model_folder

import gpt2cli
from gpt2cli.scoring.settings import Correction, ScoringSettings
from gpt2cli.scoring.text_scorer import open_scoring
from gpt2cli.scoring.words import WordRow

TEXT = "The tests of a model are odd, and the rest is from there."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corrections")


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    return save_model_folder(folder, n_positions=96)


@pytest.fixture(scope="module")
def model(folder: Path, reference: Any) -> gpt2cli.LanguageModel:
    return gpt2cli.load(str(folder), device="cpu", threads=1)


def corrected(model: gpt2cli.LanguageModel, correction: Correction, text: str = TEXT) -> list[float]:
    """Return the corrected surprisal of each word, in nats."""
    found = []
    for row in model.score(text, by="word", unit="nats", correction=correction):
        assert isinstance(row, WordRow)
        assert row.surprisal_corrected is not None
        found.append(row.surprisal_corrected)
    return found


def probabilities(model: gpt2cli.LanguageModel, reference: Any) -> tuple[list[int], list[str], Any]:
    """Return the ids of the text, their tokens, and the distribution at each place, the end included."""
    ids = model.tokenizer.encode(TEXT)
    with torch.no_grad():
        table = torch.softmax(reference(torch.tensor([[0, *ids]])).logits[0].double(), -1)
    return ids, [model.tokenizer.token_of(token_id) for token_id in ids], table


def per_word(tokens: Sequence[str], values: Sequence[float]) -> list[float]:
    """Return the sums over words, which begin where a token has a space."""
    words: list[float] = []
    for token, value in zip(tokens, values, strict=True):
        if token[0] == "Ġ" or not words:
            words.append(0.0)
        words[-1] += value
    return words


def test_wordsprobability(model: gpt2cli.LanguageModel, reference: Any) -> None:
    ids, tokens, table = probabilities(model, reference)
    vocabulary = [model.tokenizer.token_of(token_id) for token_id in range(320)]
    end = torch.tensor([float(token_id == 0) for token_id in range(320)], dtype=torch.float64)
    bow = torch.tensor([float(token[0] == "Ġ") for token in vocabulary], dtype=torch.float64)
    punctuation = torch.tensor([float(token[0] in string.punctuation) for token in vocabulary]) - end
    middle = 1 - bow - punctuation
    bow_fix = -torch.log(table @ (bow + end))
    bos_fix = -torch.log(table @ (middle + punctuation + end))
    values = []
    for place, (token_id, token) in enumerate(zip(ids, tokens, strict=True)):
        is_last = place + 1 == len(ids)
        value = -math.log(table[place, token_id])
        value -= float(bow_fix[place]) * (token[0] == "Ġ") + float(bos_fix[0]) * (place == 0)
        value += float(bow_fix[place + 1]) * (is_last or tokens[place + 1][0] == "Ġ")
        values.append(value)
    assert corrected(model, "wordsprobability") == pytest.approx(per_word(tokens, values), abs=1e-4)


def test_minicons(model: gpt2cli.LanguageModel, reference: Any) -> None:
    ids, tokens, table = probabilities(model, reference)
    bow = [token_id for token_id in range(320) if model.tokenizer.token_of(token_id)[0] == "Ġ"]
    logprob = torch.log(table[:, bow].sum(-1))
    ends = [place + 1 == len(ids) or tokens[place + 1][0] == "Ġ" for place in range(len(ids))]
    # As it does, mask_current is mask_forward moved by one place.
    begins = [False, *ends[:-1]]
    values = [
        -(
            math.log(table[place, token_id])
            + float(logprob[place + 1]) * ends[place]
            - float(logprob[place]) * begins[place]
        )
        for place, token_id in enumerate(ids)
    ]
    assert corrected(model, "minicons") == pytest.approx(per_word(tokens, values), abs=1e-4)


def test_corrections_differ_at_the_ends_of_a_text_and_by_what_counts_as_white_space(
    model: gpt2cli.LanguageModel,
) -> None:
    found = {name: corrected(model, name) for name in get_args(Correction)}
    assert len({tuple(values) for values in found.values()}) == 3
    assert found["pimentel-meister"][-1] != pytest.approx(found["minicons"][-1], abs=1e-3)


def test_rows_name_a_correction_that_is_not_the_usual_one(
    model: gpt2cli.LanguageModel,
) -> None:
    assert "correction" not in open_scoring(model, ScoringSettings()).metadata
    assert open_scoring(model, ScoringSettings(correction="minicons")).metadata["correction"] == "minicons"
    with pytest.raises(gpt2cli.UsageError, match="`correction` must be"):
        ScoringSettings(correction="none")  # type: ignore[arg-type]
