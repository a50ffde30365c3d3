"""The weight names of each family, against those of transformers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import save_checkpoint
from families import FAMILIES, save_family
from safetensors.torch import load_file
from transformers import AutoConfig

from gpt2cli.checkpoint.architecture import Architecture
from gpt2cli.checkpoint.architectures import ARCHITECTURES, find_architecture
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.roles import TABLES, layer_of, role_of
from gpt2cli.checkpoint.saving import save_weights
from gpt2cli.checkpoint.weights import expected_shapes, load_weights
from gpt2cli.errors import CheckpointError


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    save_family(tmp_path, request.param)
    return tmp_path


def test_a_whole_model_has_the_names_and_shapes_that_transformers_saves(folder: Path) -> None:
    config = ModelConfig.from_json(folder / "config.json")
    facts = config.architecture
    saved = {name: tuple(tensor.shape) for name, tensor in load_file(folder / "model.safetensors").items()}
    expected = {
        facts.full_name(name): shape[::-1] if facts.out_in and name not in TABLES else shape
        for name, shape in expected_shapes(config).items()
    }
    assert expected == saved


def test_a_model_without_its_head_has_the_bare_names(tmp_path: Path) -> None:
    save_checkpoint(tmp_path).transformer.save_pretrained(tmp_path)
    config = ModelConfig.from_json(tmp_path / "config.json")
    names = {config.architecture.bare_name(name) for name in expected_shapes(config)}
    assert names == load_file(tmp_path / "model.safetensors").keys()


def test_weights_that_are_read_and_saved_are_the_same_file_to_transformers(folder: Path) -> None:
    config = ModelConfig.from_json(folder / "config.json")
    original, copy = folder / "model.safetensors", folder / "copy.safetensors"
    stored = load_weights([original], config)
    save_weights(copy, config, {name: tensor.array for name, tensor in stored.items()})
    expected = load_file(original)
    actual = load_file(copy)
    assert actual.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in actual.items())


def test_rows_before_the_first_position_are_not_counted(tmp_path: Path) -> None:
    save_family(tmp_path, "opt")
    config = replace(ModelConfig.from_json(tmp_path / "config.json"), n_positions=50)
    with pytest.raises(CheckpointError, match="max_position_embeddings is 50 there and 48 in the weights"):
        load_weights([tmp_path / "model.safetensors"], config)


def test_a_config_that_is_read_and_saved_is_the_same_to_transformers(folder: Path) -> None:
    expected = AutoConfig.from_pretrained(folder).to_dict()
    saved = ModelConfig.from_json(folder / "config.json").to_dict()
    (folder / "config.json").write_text(json.dumps(saved))
    actual = AutoConfig.from_pretrained(folder).to_dict()
    of_the_files = {"_name_or_path", "dtype", "transformers_version"}
    assert {key: actual[key] for key in expected.keys() - of_the_files} == {
        key: expected[key] for key in expected.keys() - of_the_files
    }


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
    unknown: list[object] = ["bert", None, ["gpt2"], {}]
    assert not any(map(find_architecture, unknown))


def test_a_layer_is_numbered_by_a_few_digits() -> None:
    known = find_architecture("gpt2")
    assert known is not None
    assert known.layer_in("h.12.attn.c_attn.weight") == 12
    assert known.layer_in(f"h.{'9' * 5000}.attn.c_attn.weight") is None
    assert known.layer_in("wte.weight") is None
