"""The weight names of each family, against those of transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import save_checkpoint
from safetensors.torch import load_file

from gpt2cli.checkpoint.architectures import ARCHITECTURES, Architecture, find_architecture
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.roles import layer_of, role_of
from gpt2cli.checkpoint.saving import save_weights
from gpt2cli.checkpoint.weights import expected_shapes, load_weights


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_whole_model_has_the_names_and_shapes_that_transformers_saves(tmp_path: Path, tied: bool) -> None:
    save_checkpoint(tmp_path, tie_word_embeddings=tied)
    config = ModelConfig.from_json(tmp_path / "config.json")
    saved = {name: tuple(tensor.shape) for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    shapes = expected_shapes(config).items()
    assert {config.architecture.full_name(name): shape for name, shape in shapes} == saved


def test_a_model_without_its_head_has_the_bare_names(tmp_path: Path) -> None:
    save_checkpoint(tmp_path).transformer.save_pretrained(tmp_path)
    config = ModelConfig.from_json(tmp_path / "config.json")
    names = {config.architecture.bare_name(name) for name in expected_shapes(config)}
    assert names == load_file(tmp_path / "model.safetensors").keys()


def test_weights_that_are_read_and_saved_are_the_same_file_to_transformers(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, tie_word_embeddings=False)
    config = ModelConfig.from_json(tmp_path / "config.json")
    original, copy = tmp_path / "model.safetensors", tmp_path / "copy.safetensors"
    stored = load_weights([original], config)
    save_weights(copy, config, {name: tensor.array for name, tensor in stored.items()})
    expected = load_file(original)
    actual = load_file(copy)
    assert actual.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in actual.items())


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda row: row.model_type)
def test_every_weight_has_a_role_and_every_role_a_weight(architecture: Architecture) -> None:
    config = ModelConfig(model_type=architecture.model_type, n_layer=2, tie_word_embeddings=False)
    shapes = expected_shapes(config)
    assert {role_of(name) for name in shapes} == architecture.weight_names.keys()
    for name in shapes:
        in_a_layer = "{layer}" in architecture.weight_names[role_of(name)]
        assert layer_of(name) in ((0, 1) if in_a_layer else (None,))


def test_an_architecture_is_found_by_the_model_type_of_its_config() -> None:
    for architecture in ARCHITECTURES:
        assert find_architecture(architecture.model_type) is architecture
    unknown: list[object] = ["llama", None, ["gpt2"], {}]
    assert not any(map(find_architecture, unknown))
