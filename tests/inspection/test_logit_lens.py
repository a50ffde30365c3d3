"""The logit lens, against transformers' hidden states."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from backends import BACKENDS
from families import FAMILIES
from inspected_models import saved

from gpt2cli.errors import UsageError
from gpt2cli.inspection.lens import Lens, LensRow
from gpt2cli.inspection.settings import LensSettings
from gpt2cli.model.decoder import hidden_states
from gpt2cli.scoring.report import score_rows
from gpt2cli.scoring.settings import ScoringSettings

TEXT = "The cat sat, the cat ran."
TOLERANCE = 1e-4
FINAL_NORMS = ("ln_f", "final_layer_norm", "norm")


class Residuals:
    """A watcher that keeps a copy of each residual."""

    def __init__(self, ops: Any) -> None:
        self.ops = ops
        self.seen: list[Any] = []

    def residual(self, layer: int, x: Any) -> None:
        """Keep a residual."""
        assert layer == len(self.seen)
        self.seen.append(np.array(self.ops.to_numpy(x)))

    def attention(self, layer: int, queries: Any, keys: Any, scale: float, window: int | None) -> None:
        """Do nothing."""


def final_norm(reference: Any) -> Any:
    """Return the norm before the head of a model in transformers."""
    decoder = reference.base_model
    decoder = getattr(decoder, "decoder", decoder)
    return next(
        (getattr(decoder, name) for name in FINAL_NORMS if hasattr(decoder, name)), torch.nn.Identity()
    )


def predictions(reference: Any, states: Any) -> list[Any]:
    """Return the log-probabilities (time, vocabulary) of each layer; the last state is already normalized."""
    norm, head = final_norm(reference), reference.get_output_embeddings()
    normed = [norm(state) for state in states[:-1]] + [states[-1]]
    with torch.no_grad():
        return [torch.log_softmax(head(state)[0].double(), -1).numpy() for state in normed]


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_residuals_equal_the_hidden_states_of_transformers(family: str, backend: tuple[str, str]) -> None:
    model = saved(family).load(backend).model
    ids = list(range(5, 45))
    expected = saved(family).outputs(ids, output_hidden_states=True).hidden_states
    watcher = Residuals(model.ops)
    last = hidden_states(model, model.ops.token_ids([ids]), watch=watcher)
    assert len(watcher.seen) == len(expected) == model.config.n_layer + 1
    found = [*watcher.seen[:-1], model.ops.to_numpy(last)]
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_predicts_what_the_head_of_transformers_reads_in_it(
    family: str, backend: tuple[str, str]
) -> None:
    loaded = saved(family).load(backend)
    lens = Lens(loaded, TEXT, LensSettings(top=4, unit="nats"))
    ids = list(lens.passage.ids)
    layers = predictions(
        saved(family).reference, saved(family).outputs(ids, output_hidden_states=True).hidden_states
    )
    rows = list(lens.rows())
    assert len(rows) == len(ids) * len(layers) * 4
    for row in rows:
        assert_predicted(row, layers[row.layer][row.index - 1], [*ids[1:], None][row.index - 1])


def assert_predicted(row: LensRow, logprobs: Any, came: int | None) -> None:
    order = np.argsort(-logprobs, kind="stable")
    assert logprobs[row.prediction_id] == pytest.approx(logprobs[order[row.place - 1]], abs=TOLERANCE)
    assert math.log(row.prediction_probability) == pytest.approx(logprobs[row.prediction_id], abs=TOLERANCE)
    assert row.entropy == pytest.approx(-(np.exp(logprobs) * logprobs).sum(), abs=TOLERANCE)
    assert row.id == came
    if came is None:
        assert (row.text, row.surprisal, row.probability, row.rank) == (None, None, None, None)
        return
    assert row.surprisal == pytest.approx(-logprobs[came], abs=TOLERANCE)
    # Ranks of tokens that are as good as equally likely may differ.
    near = [np.count_nonzero(logprobs > logprobs[came] + shift) + 1 for shift in (TOLERANCE, -TOLERANCE)]
    assert row.rank is not None
    assert near[0] <= row.rank <= near[1]


def test_the_last_layer_is_what_score_measures() -> None:
    loaded = saved("gpt2").load()
    scored: Any = score_rows(loaded, TEXT, ScoringSettings())
    rows = list(Lens(loaded, TEXT, LensSettings(layers=[-1])).rows())
    assert [row.text for row in rows] == [*(row.text for row in scored), None]
    for row, score in zip(rows, scored, strict=False):
        assert (row.index, row.id, row.rank) == (score.index, score.id, score.rank)
        assert row.surprisal == pytest.approx(score.surprisal, rel=1e-5)
        assert row.entropy == pytest.approx(score.entropy, rel=1e-5)


def test_layers_and_positions_choose_rows() -> None:
    loaded = saved("gpt2").load()
    every = list(Lens(loaded, TEXT, LensSettings(top=2)).rows())
    last = every[-1].index
    some = list(Lens(loaded, TEXT, LensSettings(layers=[3, 0], positions=[-1, 2], top=2)).rows())
    assert some == [row for row in every if row.layer in (0, 3) and row.index in (2, last)]


def test_without_bos_the_first_token_has_no_prediction() -> None:
    loaded = saved("gpt2").load()
    rows = list(Lens(loaded, TEXT, LensSettings(bos=False)).rows())
    assert {row.index for row in rows} == set(range(2, len(loaded.tokenizer.encode(TEXT)) + 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": [4]}, "There is no layer 4. They are 0 to 3."),
        ({"layers": [-5]}, "There is no layer -5. They are 0 to 3."),
        ({"positions": [0]}, "There is no position 0. They are 1 to"),
    ],
)
def test_what_does_not_exist_is_refused(settings: dict[str, Any], message: str) -> None:
    loaded = saved("gpt2").load()
    with pytest.raises(UsageError, match=message):
        Lens(loaded, TEXT, LensSettings(**settings))


def test_a_text_that_does_not_fit_is_refused() -> None:
    loaded = saved("gpt2").load()
    with pytest.raises(UsageError, match="tokens with BOS and the model's context holds 48"):
        Lens(loaded, "word " * 100, LensSettings())
    with pytest.raises(UsageError, match="empty"):
        Lens(loaded, "", LensSettings())
