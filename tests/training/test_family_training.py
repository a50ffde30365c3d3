"""Training each family: losses and gradients against transformers, adapters, memory, and what is saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from checkpoints import load_checkpoint, save_tokenizer
from families import FAMILIES, save_family
from safetensors.torch import load_file
from torch import Tensor

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.roles import HEAD, TABLES, TOKEN_EMBEDDING, is_layer_matrix, layer_of
from gpt2cli.checkpoint.saving import save_model
from gpt2cli.checkpoint.weights import expected_shapes
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.training.plan.memory import estimate_memory, window_bytes
from gpt2cli.training.plan.settings import TrainingSettings
from gpt2cli.training.run.state import Progress, restore_state, save_state, to_arrays
from gpt2cli.training.step.trainer import Trainer, batch, initial_weights
from gpt2cli.training.train import train

pytestmark = pytest.mark.slow

SETTINGS = TrainingSettings(
    steps=12, context=32, batch_size=4, micro_batch=4, warmup_steps=4, optimizer="adamw", learning_rate=0.01
)
KINDS = {
    "adamw": SETTINGS,
    "muon": replace(SETTINGS, optimizer="muon"),
    "lora": replace(SETTINGS, lora=3),
    "freeze": replace(SETTINGS, freeze=2),
    "bfloat16": replace(SETTINGS, precision="bfloat16"),
}
IDS = np.random.default_rng(1).integers(0, 131, 2_000).astype(np.uint16)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def open_trainer(folder: Path, settings: TrainingSettings = SETTINGS) -> Trainer:
    model = load_checkpoint(folder, "torch")
    # A clone, because the weights are mapped from the file.
    return Trainer(model.config, {name: weight.clone() for name, weight in model.weights.items()}, settings)


def reopened(folder: Path) -> Any:
    """Return the model that transformers opens, after checking that nothing is missing or left over."""
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values())
    return model.eval()


def scores(trainer: Trainer, windows: Tensor) -> Tensor:
    model = trainer.plain_model()
    with torch.no_grad():
        found: Tensor = logits(model, hidden_states(model, windows))
    return found


def test_losses_and_gradients_equal_those_of_transformers(tmp_path: Path, family: str) -> None:
    reference = save_family(tmp_path, family)
    trainer = open_trainer(tmp_path)
    facts = trainer.config.architecture
    windows = batch(IDS, SETTINGS, step=0)
    loss = trainer._backward(windows)
    theirs = reference(windows, labels=windows).loss
    theirs.backward()
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-6)
    # In memory, transformers calls every head so.
    names = {"lm_head.weight" if name == HEAD else facts.full_name(name): name for name in trainer.trainable}
    parameters = dict(reference.named_parameters())
    assert names.keys() == parameters.keys()
    greatest = max(parameter.grad.abs().max().item() for parameter in parameters.values())
    for name, parameter in parameters.items():
        ours = trainer.trainable[names[name]].grad
        assert ours is not None
        if facts.out_in and is_layer_matrix(names[name], ours.shape):
            ours = ours.T
        # A bias of keys that are not rotated changes no attention, so its gradient is only rounding.
        scale = max(parameter.grad.abs().max().item(), 0.01 * greatest)
        torch.testing.assert_close(ours, parameter.grad, atol=1e-5 * scale, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_opens_in_transformers_with_the_same_logits(
    tmp_path: Path, family: str, kind: str
) -> None:
    save_family(tmp_path / "parent", family)
    trainer = open_trainer(tmp_path / "parent", KINDS[kind])
    windows = batch(IDS, SETTINGS, step=0)
    before = scores(trainer, windows)
    trained = [trainer.train_step(IDS[:33])[0].loss for _ in range(6)]
    assert trained[-1] < trained[0]
    after = scores(trainer, windows)
    assert (after - before).abs().max() > 0.1
    save_model(tmp_path / "child", trainer.config, to_arrays(trainer.merged_weights()), {})
    model = reopened(tmp_path / "child")
    assert type(model) is FAMILIES[family].model
    with torch.no_grad():
        torch.testing.assert_close(model(windows).logits, after, atol=1e-4, rtol=1e-4)
    shapes = [
        {name: tensor.shape for name, tensor in load_file(tmp_path / folder / "model.safetensors").items()}
        for folder in ("parent", "child")
    ]
    assert shapes[0] == shapes[1]


def test_adapters_stand_beside_each_matrix_of_the_blocks_alone(tmp_path: Path, family: str) -> None:
    save_family(tmp_path, family)
    trainer = open_trainer(tmp_path, KINDS["lora"])
    adapted = {name.rpartition(".")[0] for name in trainer.trainable}
    shapes = expected_shapes(trainer.config)
    assert adapted == {name for name, shape in shapes.items() if is_layer_matrix(name, shape)}
    assert {weight.shape[0] for name, weight in trainer.trainable.items() if name.endswith("up")} == {3}


def test_frozen_blocks_and_embeddings_stay_and_the_others_move(tmp_path: Path, family: str) -> None:
    save_family(tmp_path, family)
    trainer = open_trainer(tmp_path, KINDS["freeze"])
    before = {name: weight.clone() for name, weight in trainer.merged_weights().items()}
    for _ in range(3):
        trainer.train_step(IDS)
    still = {name for name, weight in trainer.merged_weights().items() if weight.equal(before[name])}
    assert TOKEN_EMBEDDING in still
    # The gradient of a key's bias is zero: it adds the same to all scores of a query.
    assert {name for name in before if (layer_of(name) or 0) < 2 and layer_of(name) is not None} <= still
    moved = before.keys() - still
    assert {name for name in before if layer_of(name) == 2 and name.endswith("weight")} <= moved
    assert (HEAD in moved) is not trainer.config.tie_word_embeddings


def test_matrices_decay_and_vectors_do_not_and_muon_takes_those_of_blocks(
    tmp_path: Path, family: str
) -> None:
    save_family(tmp_path, family)
    trainer = open_trainer(tmp_path, KINDS["muon"])
    optimizers = trainer.optimizers
    decay = optimizers._decay
    groups = [("muon", decay, {*optimizers._muon})]
    groups += [("adamw", decay, {*names}) for names, decay in optimizers._adamw]
    inside = {name for name, weight in trainer.trainable.items() if is_layer_matrix(name, weight.shape)}
    tables = {name for name, weight in trainer.trainable.items() if weight.ndim == 2} - inside
    vectors = trainer.trainable.keys() - inside - tables
    assert {TOKEN_EMBEDDING} <= tables <= TABLES
    assert groups == [("muon", 0.1, inside), ("adamw", 0.1, tables), ("adamw", 0.0, vectors)]


@pytest.mark.parametrize("kind", ["adamw", "muon", "lora", "freeze"])
@pytest.mark.parametrize("family", ["gpt-neox", "llama", "qwen2"], indirect=True)
def test_a_restored_trainer_goes_on_with_the_same_losses(tmp_path: Path, family: str, kind: str) -> None:
    save_family(tmp_path / family, family)
    first = open_trainer(tmp_path / family, KINDS[kind])
    for _ in range(3):
        first.train_step(IDS)
    save_state(tmp_path / "state", first, Progress(step=3))
    second = open_trainer(tmp_path / family, KINDS[kind])
    restore_state(tmp_path / "state", second)
    assert [second.train_step(IDS)[0] for _ in range(3)] == [first.train_step(IDS)[0] for _ in range(3)]


def test_dropout_draws_anew_each_pass_and_is_off_in_evaluation(tmp_path: Path, family: str) -> None:
    save_family(tmp_path, family)
    settings = replace(SETTINGS, dropout=0.2)
    records = [
        open_trainer(tmp_path, kind).train_step(IDS)[0].loss for kind in (settings, settings, SETTINGS)
    ]
    assert records[0] == records[1] != records[2]
    windows = batch(IDS, SETTINGS, step=0)
    dropping = open_trainer(tmp_path, settings)
    torch.testing.assert_close(scores(dropping, windows), scores(open_trainer(tmp_path), windows))
    assert not torch.allclose(dropping.scores(windows), dropping.scores(windows))


def kept_bytes(config: ModelConfig, settings: TrainingSettings) -> int:
    """Return the bytes of what a pass over one window keeps for its backward pass, weights aside."""
    trainer = Trainer(config, initial_weights(config, 0), settings)
    weights = {weight.untyped_storage().data_ptr() for weight in trainer.trainable.values()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        trainer._pass_loss(batch(IDS, settings, 0))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_the_memory_of_a_block_is_estimated_from_the_shapes_of_its_family(
    tmp_path: Path, family: str, dropout: float
) -> None:
    save_family(tmp_path, family)
    config = ModelConfig.from_json(tmp_path / "config.json")
    # Large enough that the weights of a norm and the angles of a rotation do not count.
    config = replace(
        config,
        n_embd=8 * config.n_embd,
        head_dim=8 * config.head_width,
        n_inner=8 * config.inner_width,
        windows=config.windows[:1] * 3,
    )
    settings = replace(SETTINGS, context=48, batch_size=1, micro_batch=1, dropout=dropout)
    deep, flat = config, replace(config, n_layer=2, windows=config.windows[:2])
    measured = kept_bytes(deep, settings) - kept_bytes(flat, settings)
    estimated = window_bytes(deep, settings) - window_bytes(flat, settings)
    assert measured < estimated < 1.35 * measured


def test_the_memory_of_weights_and_adapters_is_that_of_their_shapes(tmp_path: Path, family: str) -> None:
    model = save_family(tmp_path, family)
    config = ModelConfig.from_json(tmp_path / "config.json")
    adapters = open_trainer(tmp_path, KINDS["lora"]).trainable.values()
    base = estimate_memory(config, SETTINGS)
    # A gradient and two moments beside each weight; AdamW has no more.
    saved = 12 * (model.num_parameters() - sum(weight.numel() for weight in adapters))
    assert base - estimate_memory(config, KINDS["lora"]) == saved


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("gpt1", {}),
        ("gpt-neox", {"lora": 2}),
        ("llama", {"freeze": 1, "optimizer": "muon"}),
        ("qwen2-window", {}),
    ],
    indirect=["family"],
)
def test_a_fine_tuned_family_continues_a_text_as_in_transformers(
    tmp_path: Path, family: str, options: dict[str, Any]
) -> None:
    parent, child, text = tmp_path / "parent", tmp_path / "child", tmp_path / "text.txt"
    save_family(parent, family, vocab_size=320)
    save_tokenizer(parent, 320)
    text.write_text("".join(f"{number} cats sat on the mat\n" for number in range(300)))
    train(text, output=child, parent=str(parent), context=32, steps=4, threads=1, **options)
    model = reopened(tmp_path / "child")
    assert type(model) is FAMILIES[family].model
    prompt = transformers.AutoTokenizer.from_pretrained(tmp_path / "child")("the cat", return_tensors="pt")
    expected = model.generate(
        **prompt,
        max_new_tokens=8,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        use_cache=family != "gpt1",
    )
    ours = load_checkpoint(tmp_path / "child")
    row = prompt["input_ids"][0].tolist()
    for _ in range(8):
        row.append(int(logits(ours, hidden_states(ours, ours.ops.token_ids([row])))[0, -1].argmax()))
    assert row == expected[0].tolist()
