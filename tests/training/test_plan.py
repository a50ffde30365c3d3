"""The defaults that follow from the size of a text and the width of a model."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from test_training import CONFIG

from gpt2cli.errors import UsageError
from gpt2cli.training.plan.request import Request
from gpt2cli.training.plan.settings import (
    TrainingSettings,
    suitable_batch_tokens,
    suitable_dropout,
    suitable_rate,
    suitable_steps,
)
from gpt2cli.training.step.place import Place

# From a poem to a shelf of books, each a tenth longer than the one before.
TEXTS = [round(500 * 1.1**number) for number in range(120)]
WIDTHS = (128, 256, 512, 768, 1024, 1600)


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "WORLD_SIZE"])
@pytest.mark.parametrize("value", ["x", "", "-1", "²", "9" * 5000])
def test_a_variable_of_torchrun_that_is_no_number_is_named(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=f"^{variable}="):
        Place.of_this_process("cpu", None)


def plan(tokens: int, width: int) -> tuple[float, float, float]:
    """Return the steps, the tokens in each and the rate that fine-tuning on a text has by default."""
    batch = suitable_batch_tokens(tokens, fine_tuning=True)
    steps = suitable_steps(tokens, batch, fine_tuning=True)
    return steps, batch, suitable_rate(True, "adamw", 0, width, tokens)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_longer_text_changes_the_plan_of_fine_tuning_smoothly(width: int) -> None:
    for short, long in pairwise(plan(tokens, width) for tokens in TEXTS):
        for before, after in zip(short, long, strict=True):
            assert before <= after < 1.12 * before


def test_a_wider_model_takes_a_lower_rate() -> None:
    for tokens in TEXTS:
        rates = [plan(tokens, width)[2] for width in WIDTHS]
        assert all(after < before for before, after in pairwise(rates)), tokens


def test_gpt2_gets_what_is_usual_for_it() -> None:
    for text_bytes, most_passes in ((10_000, 10), (100_000, 5), (1_000_000, 3), (10_000_000, 1)):
        tokens = text_bytes // 4
        steps, batch, rate = plan(tokens, 768)
        assert 4.9e-5 <= rate <= 1e-4
        assert steps * batch / tokens <= most_passes


def test_the_page_has_the_defaults_for_gpt2() -> None:
    page = (Path(__file__).parents[2] / "docs" / "train.md").read_text()
    config = replace(CONFIG, n_embd=768, n_positions=1024)
    for text, text_bytes in (
        ("10 KB", 10_000),
        ("100 KB", 100_000),
        ("1 MB", 1_000_000),
        ("10 MB", 10_000_000),
    ):
        planned = Request(texts="x", parent="gpt2").settings(config, text_bytes // 4, "float32")
        batch = planned.batch_size * planned.context
        passes = planned.steps * batch / (text_bytes // 4)
        assert f"| {text} | {planned.steps} | {batch:,} | {passes:.1f} | {planned.learning_rate} |" in page


def test_dropout_rises_from_four_passes_to_eight() -> None:
    passes = [0.5, 4.0, 5.0, 6.0, 8.0, 50.0]
    assert [suitable_dropout(number) for number in passes] == [0.0, 0.0, 0.03, 0.05, 0.1, 0.1]


def settings(tokens: int = 10_000, **values: float) -> TrainingSettings:
    return Request(texts="x", parent="y", **values).settings(CONFIG, tokens, "float32")  # type: ignore[arg-type]


def test_epochs_decide_the_steps() -> None:
    for epochs in (0.5, 3, 20):
        planned = settings(epochs=epochs)
        tokens_seen = planned.steps * planned.batch_size * planned.context
        assert tokens_seen == pytest.approx(10_000 * epochs, abs=planned.batch_size * planned.context)
    assert settings(epochs=0.0001).steps == 1
    with pytest.raises(UsageError, match="`epochs` and `steps` both set the length"):
        Request(texts="x", epochs=1, steps=2).require_sense()


def test_what_is_given_is_taken() -> None:
    planned = settings(steps=70, learning_rate=5e-5, batch_tokens=96, eval_every=9, patience=0, minutes=1.5)
    assert (planned.steps, planned.learning_rate, planned.minutes) == (70, 5e-5, 1.5)
    assert (planned.batch_size * planned.context, planned.evaluate_every, planned.patience) == (96, 9, 0)
