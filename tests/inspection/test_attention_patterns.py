"""Attention patterns, against transformers' attentions, and what they amount to."""

from __future__ import annotations

import numpy as np
import pytest
from backends import BACKENDS
from families import FAMILIES
from inspected_models import saved

from gpt2cli.errors import UsageError
from gpt2cli.inspection.attention import (
    MOST_ROWS,
    Attention,
    attention_patterns,
    pooled,
    repeats_of,
    summarize,
)
from gpt2cli.inspection.settings import HeadName, PassageSettings

TOLERANCE = 1e-4
TEXT = "one two one two three"


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_patterns_equal_the_attentions_of_transformers(family: str, backend: tuple[str, str]) -> None:
    model = saved(family).load(backend).model
    ids = list(range(5, 45))
    expected = saved(family).outputs(ids, output_attentions=True).attentions
    found = attention_patterns(model, ids)
    assert len(found) == len(expected) == model.config.n_layer
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs[0].numpy(), atol=TOLERANCE, rtol=0)


def test_a_summary_is_what_transformers_attentions_amount_to() -> None:
    gpt2 = saved("gpt2")
    found = Attention(gpt2.load(), TEXT, PassageSettings(), HeadName(2, 1))
    ids = list(found.passage.ids)
    attentions = gpt2.outputs(ids, output_attentions=True).attentions
    assert [(row.layer, row.head) for row in found.heads] == [
        (layer, head) for layer in range(3) for head in range(4)
    ]
    for row in found.heads:
        pattern = attentions[row.layer][0, row.head].double().numpy()
        places = range(1, len(ids))
        distances = [sum(pattern[q, k] * (q - k) for k in range(q)) for q in places]
        entropies = [-sum(w * np.log2(w) for w in pattern[q, : q + 1] if w > 0) for q in places]
        copied = [
            sum(pattern[q, k + 1] for k in range(q) if ids[k] == ids[q]) for q in places if ids[q] in ids[:q]
        ]
        assert copied
        expected = [
            np.mean(distances),
            np.mean([pattern[q, 0] for q in places]),
            np.mean([pattern[q, q - 1] for q in places]),
            np.mean([pattern[q, q] for q in places]),
            np.mean(entropies),
            np.mean(copied),
        ]
        values = [row.distance, row.first, row.previous, row.itself, row.entropy, row.induction]
        assert values == pytest.approx(expected, abs=TOLERANCE)
    weights = list(found.weights())
    assert len(weights) == len(ids) * (len(ids) + 1) / 2
    for weight in weights:
        assert weight.weight == pytest.approx(
            float(attentions[2][0, 1, weight.index, weight.attends_to]), abs=TOLERANCE
        )
        assert weight.text == found.passage.texts[weight.index]
        assert weight.attended_token == found.passage.texts[weight.attends_to]


def test_a_head_that_copies_what_followed_has_an_induction_score_of_one() -> None:
    # A pattern of an ideal head on a, b, c, a, b, c: from each repeat to what followed its first occurrence.
    pattern = np.zeros((6, 6), np.float32)
    for query, key in enumerate([0, 0, 0, 1, 2, 3]):
        pattern[query, key] = 1.0
    row = summarize(0, 0, pattern, repeats_of([7, 8, 9, 7, 8, 9]))
    assert row.induction == 1.0
    assert row.entropy == 0.0
    assert row.distance == pytest.approx((1 + 2 + 2 + 2 + 2) / 5)


def test_one_token_has_no_means() -> None:
    found = Attention(saved("gpt2").load(), "a", PassageSettings(bos=False))
    assert all(row.distance is None and row.first is None for row in found.heads)


def test_a_small_picture_keeps_the_highest_weights() -> None:
    pattern = np.zeros((100, 100), np.float32)
    pattern[99, 40] = 0.75
    small = pooled(pattern, MOST_ROWS)
    assert small.shape == (MOST_ROWS, MOST_ROWS)
    assert np.argwhere(small).tolist() == [[MOST_ROWS - 1, 40 * MOST_ROWS // 100]]
    assert small.max() == 0.75


@pytest.mark.parametrize("head", [HeadName(3, 0), HeadName(0, 4)])
def test_a_head_that_does_not_exist_is_refused(head: HeadName) -> None:
    with pytest.raises(UsageError, match=rf"There is no head {head}. They are 0.0 to 2.3"):
        Attention(saved("gpt2").load(), TEXT, PassageSettings(), head)
