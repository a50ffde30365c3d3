"""Training: the loss, exact continuation, and the folder that comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import load_checkpoint, save_tokenizer
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from gpt2cli.config import ModelConfig
from gpt2cli.generation import prefill
from gpt2cli.saving import save_model
from gpt2cli.training import StepRecord, Trainer, TrainingSettings, batch, learning_rate, save_state

SHAPE = {"vocab_size": 320, "n_positions": 48, "n_embd": 24, "n_layer": 3, "n_head": 4}
CONFIG = ModelConfig.from_dict({**SHAPE, "bos_token_id": 0, "eos_token_id": 0})
SETTINGS = TrainingSettings(steps=12, batch_size=4, context=32, warmup_steps=4, bfloat16=False)
IDS = np.resize(np.arange(1, 57, dtype=np.uint16), 2_000)


def records(trainer: Trainer, count: int) -> list[StepRecord]:
    steps = trainer.run(IDS)
    return [next(steps) for _ in range(count)]


def test_the_loss_of_a_fresh_model_is_that_of_a_uniform_guess_and_falls() -> None:
    losses = [record.loss for record in Trainer(CONFIG, replace(SETTINGS, steps=100)).run(IDS)]
    assert losses[0] == pytest.approx(np.log(CONFIG.vocab_size), rel=0.02)
    assert losses[-1] < 0.5 * losses[0]


def test_the_loss_equals_that_of_transformers_on_the_same_windows() -> None:
    trainer = Trainer(CONFIG, SETTINGS)
    reference = GPT2LMHeadModel(GPT2Config(**SHAPE)).eval()
    state = {f"transformer.{name}": weight.detach() for name, weight in trainer.model.weights.items()}
    missing, unexpected = reference.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    windows = batch(IDS, SETTINGS, step=3)
    with torch.no_grad():
        # transformers shifts the labels itself.
        expected = reference(windows, labels=windows).loss
        assert trainer.loss(windows).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_restored_run_goes_on_with_the_same_losses(tmp_path: Path) -> None:
    whole = records(Trainer(CONFIG, SETTINGS), 12)
    first = Trainer(CONFIG, SETTINGS)
    assert records(first, 5) == whole[:5]
    save_state(first, tmp_path / "state.pt")
    second = Trainer(CONFIG, replace(SETTINGS, seed=0))
    second.restore(torch.load(tmp_path / "state.pt"))
    assert records(second, 7) == whole[5:]
    assert list(tmp_path.iterdir()) == [tmp_path / "state.pt"]


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
    weights = Trainer(wide, SETTINGS).model.weights
    assert weights["h.3.mlp.c_fc.weight"].std().item() == pytest.approx(0.02, rel=0.03)
    assert weights["h.3.mlp.c_proj.weight"].std().item() == pytest.approx(0.02 / 4, rel=0.03)
    assert weights["ln_f.weight"].eq(1).all()
    assert weights["ln_f.bias"].eq(0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_saved_model_is_an_ordinary_checkpoint(tmp_path: Path, dtype: type[np.floating]) -> None:
    trainer = Trainer(CONFIG, SETTINGS)
    records(trainer, 2)
    save_tokenizer(tmp_path, CONFIG.vocab_size)
    tokenizer_json = (tmp_path / "tokenizer.json").read_text()
    folder = tmp_path / "model"
    weights = {name: weight.detach().numpy().astype(dtype) for name, weight in trainer.model.weights.items()}
    save_model(folder, CONFIG, weights, tokenizer_json)

    reference = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(folder)("Once upon a time")["input_ids"]
    with torch.no_grad():
        expected = reference(torch.tensor([ids])).logits[0, -1].numpy()
    scores = prefill(load_checkpoint(folder), ids, 1).scores
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode
    assert not list(folder.glob("*.tmp"))
