"""Training: the loss, the optimizer step, frozen weights, and the resulting model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import load_checkpoint, save_tokenizer
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from gpt2cli.checkpoint.architectures import GPT2
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.saving import save_model
from gpt2cli.errors import UsageError
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.prefill import prefill
from gpt2cli.training.plan.settings import OptimizerName, TrainingSettings
from gpt2cli.training.run.state import Progress, restore_state, save_state, to_arrays
from gpt2cli.training.step.optimizers import learning_rate
from gpt2cli.training.step.trainer import StepRecord, Trainer, batch, initial_weights

SHAPE = {"vocab_size": 320, "n_positions": 48, "n_embd": 24, "n_layer": 3, "n_head": 4}
CONFIG = ModelConfig.from_dict({**SHAPE, "bos_token_id": 0, "eos_token_id": 0})
SETTINGS = TrainingSettings(steps=12, context=32, batch_size=4, micro_batch=4, warmup_steps=4)
ADAPTED = replace(SETTINGS, lora=3, optimizer="adamw", learning_rate=0.02)
IDS = np.resize(np.arange(1, 57, dtype=np.uint16), 2_000)


def new_trainer(settings: TrainingSettings = SETTINGS) -> Trainer:
    return Trainer(CONFIG, initial_weights(CONFIG, seed=0), settings)


def records(trainer: Trainer, count: int) -> list[StepRecord]:
    return [trainer.train_step(IDS)[0] for _ in range(count)]


def losses(settings: TrainingSettings, count: int) -> list[float]:
    return [record.loss for record in records(new_trainer(settings), count)]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_loss_of_a_fresh_model_is_that_of_a_uniform_guess_and_falls(optimizer: OptimizerName) -> None:
    settings = replace(SETTINGS, steps=100, optimizer=optimizer, learning_rate=5e-3)
    seen = losses(settings, 100)
    assert seen[0] == pytest.approx(np.log(CONFIG.vocab_size), rel=0.02)
    assert seen[-1] < 0.5 * seen[0]


def test_the_loss_equals_that_of_transformers_on_the_same_windows() -> None:
    trainer = new_trainer()
    reference = GPT2LMHeadModel(GPT2Config(**SHAPE)).eval()
    state = {GPT2.full_name(name): weight for name, weight in trainer.merged_weights().items()}
    missing, unexpected = reference.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    windows = batch(IDS, SETTINGS, step=0)
    with torch.no_grad():
        # transformers shifts the labels itself.
        expected = reference(windows, labels=windows).loss
    assert records(trainer, 1)[0].loss == pytest.approx(expected.item(), rel=1e-5)


def test_small_passes_add_up_to_one_big_one() -> None:
    # Muon computes in bfloat16 inside, which would magnify the last digits.
    settings = replace(SETTINGS, optimizer="adamw")
    whole = losses(settings, 8)
    for micro_batch in (1, 3):
        assert losses(replace(settings, micro_batch=micro_batch), 8) == pytest.approx(whole, abs=1e-5)


@pytest.mark.slow
def test_dropout_draws_anew_each_pass_and_the_same_each_time() -> None:
    settings = replace(SETTINGS, dropout=0.2, micro_batch=2)
    assert losses(settings, 3) == losses(settings, 3)
    assert losses(settings, 3) != losses(replace(settings, seed=1), 3)
    assert losses(settings, 1) != losses(replace(settings, dropout=0.0), 1)


@pytest.mark.parametrize(
    "settings",
    [replace(SETTINGS, dropout=0.1), replace(SETTINGS, optimizer="adamw"), replace(ADAPTED, dropout=0.1)],
    ids=["muon", "adamw", "lora"],
)
def test_a_restored_trainer_goes_on_with_the_same_losses(tmp_path: Path, settings: TrainingSettings) -> None:
    whole = records(new_trainer(settings), 12)
    first = new_trainer(settings)
    assert records(first, 5) == whole[:5]
    save_state(tmp_path / "state", first, Progress(step=5))
    second = new_trainer(settings)
    restore_state(tmp_path / "state", second)
    assert records(second, 7) == whole[5:]
    assert list(tmp_path.iterdir()) == [tmp_path / "state"]


def test_windows_depend_on_seed_and_step_alone_and_are_runs_of_the_text() -> None:
    windows = batch(IDS, SETTINGS, step=3)
    assert windows.shape == (SETTINGS.batch_size, SETTINGS.context + 1)
    assert torch.equal(windows, batch(IDS, SETTINGS, step=3))
    assert not torch.equal(windows, batch(IDS, SETTINGS, step=4))
    assert not torch.equal(windows, batch(IDS, replace(SETTINGS, seed=1), step=3))
    assert ((windows[:, 1:] - windows[:, :-1]) % 56 == 1).all()


def test_a_text_of_exactly_one_window_is_enough_and_less_is_not() -> None:
    ids = np.arange(SETTINGS.context + 1, dtype=np.uint16)
    assert torch.equal(batch(ids, SETTINGS, 0), torch.from_numpy(ids.astype(np.int64)).repeat(4, 1))
    with pytest.raises(ValueError, match="32 tokens are fewer than the 33"):
        batch(ids[:-1], SETTINGS, 0)


def test_the_rate_warms_up_and_falls_to_its_final_fraction() -> None:
    settings = replace(SETTINGS, steps=100, warmup_steps=10, learning_rate=1.0, final_fraction=0.1)
    rates = [learning_rate(settings, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.1)


def test_residual_projections_start_smaller_by_the_root_of_their_number() -> None:
    wide = ModelConfig(vocab_size=64, n_positions=8, n_embd=128, n_layer=8, n_head=2)
    weights = initial_weights(wide, seed=0)
    assert weights["layers.3.mlp_in.weight"].std().item() == pytest.approx(0.02, rel=0.03)
    assert weights["layers.3.mlp_out.weight"].std().item() == pytest.approx(0.02 / 4, rel=0.03)
    assert weights["final_norm.weight"].eq(1).all()
    assert weights["final_norm.bias"].eq(0).all()


def test_frozen_blocks_and_embeddings_stay_and_the_others_move() -> None:
    trainer = new_trainer(replace(SETTINGS, freeze=2))
    before = {name: weight.clone() for name, weight in trainer.merged_weights().items()}
    records(trainer, 3)
    moved = {name for name, weight in trainer.merged_weights().items() if not weight.equal(before[name])}
    assert moved == {name for name in before if name.startswith(("layers.2.", "final_norm."))}


def test_merged_adapters_compute_what_the_adapted_model_does() -> None:
    trainer = new_trainer(ADAPTED)
    start = trainer.merged_weights()
    assert all(weight.equal(initial_weights(CONFIG, 0)[name]) for name, weight in start.items())
    seen = records(trainer, 12)
    assert seen[-1].loss < seen[0].loss
    windows = batch(IDS, SETTINGS, step=20)
    with torch.no_grad():
        adapted = trainer.scores(windows)
        model = trainer.plain_model()
        merged = logits(model, hidden_states(model, windows))
        torch.testing.assert_close(merged, adapted, atol=1e-4, rtol=1e-4)
    changed = {name for name, weight in model.weights.items() if not weight.equal(start[name])}
    assert changed == {name for name in start if name.startswith("layers.") and start[name].ndim == 2}


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"learning_rate": 0.0}, {"dropout": 1.0}, {"lora": 4, "optimizer": "muon"}],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        TrainingSettings(**{"steps": 1, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_saved_model_is_an_ordinary_checkpoint(tmp_path: Path, dtype: type[np.floating]) -> None:
    trainer = new_trainer()
    records(trainer, 2)
    save_tokenizer(tmp_path, CONFIG.vocab_size)
    description = (tmp_path / "tokenizer.json").read_text()
    folder = tmp_path / "model"
    weights = {name: array.astype(dtype) for name, array in to_arrays(trainer.merged_weights()).items()}
    save_model(folder, CONFIG, weights, {"tokenizer.json": description})

    reference = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(folder)("Once upon a time")["input_ids"]
    with torch.no_grad():
        expected = reference(torch.tensor([ids])).logits[0, -1].numpy()
    scores = prefill(load_checkpoint(folder), ids, 1).scores
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode
    assert not list(folder.glob("*.tmp"))
