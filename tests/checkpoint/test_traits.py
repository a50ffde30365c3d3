"""What a model's config says of its architecture, in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from families import FAMILIES, save_family

from gpt2cli.checkpoint.architectures import ARCHITECTURES
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.traits import architecture_traits

LLAMA = {
    "norm": "RMSNorm before each sub-block",
    "positions": "rotary",
    "attention_pattern": "global",
    "attention_heads": "grouped-query, 2 groups",
    "activation": "SwiGLU",
    "residual": "sequential",
    "biases": "none",
    "head": "untied",
}
# What a variant changes of another. Names are those of the families that tests make.
EXPECTED = {
    "gpt2": {
        "norm": "LayerNorm before each sub-block",
        "positions": "learned",
        "attention_pattern": "global",
        "attention_heads": "multi-head",
        "activation": "GELU by tanh",
        "residual": "sequential",
        "biases": "all matrices",
        "head": "tied",
    },
    "gpt1": {"norm": "LayerNorm after each sub-block", "head": "tied"},
    "gpt-neo": {
        "attention_pattern": "local in 2 of 3 layers, window 5, unscaled",
        "biases": "attention output; MLP",
    },
    "opt": {"positions": "learned", "activation": "ReLU", "biases": "all matrices", "head": "tied"},
    "gpt-neox": {"positions": "rotary on 25% of each head", "residual": "parallel", "head": "untied"},
    "gpt-neox-sequential": {"positions": "rotary", "residual": "sequential", "biases": "MLP"},
    "llama": LLAMA,
    "llama-3": {
        "positions": "rotary, LLaMA 3 scaling by 4",
        "attention_heads": "multi-query",
        "biases": "all matrices",
        "head": "tied",
    },
    "llama-linear": {**LLAMA, "positions": "rotary, linear scaling by 2"},
    "mistral": {**LLAMA, "attention_pattern": "local, window 5"},
    "qwen2": {**LLAMA, "biases": "queries, keys and values", "head": "tied"},
    "qwen2-window": {"attention_pattern": "local in 2 of 3 layers, window 7"},
}


@pytest.mark.parametrize("family", EXPECTED)
def test_a_model_is_described_by_what_its_config_says(tmp_path: Path, family: str) -> None:
    save_family(tmp_path, family)
    config = ModelConfig.from_json(tmp_path / "config.json")
    traits = architecture_traits(config)
    assert {name: traits[name] for name in EXPECTED[family]} == EXPECTED[family]


def test_layers_that_attend_in_turn_are_called_so() -> None:
    config = ModelConfig.from_dict({"model_type": "gpt_neo"})
    pattern = architecture_traits(config)["attention_pattern"]
    assert pattern == "global and local in turn, window 256, unscaled"


def test_every_family_is_told_from_the_others() -> None:
    configs = [ModelConfig.from_dict({"model_type": row.model_type}) for row in ARCHITECTURES]
    described = [architecture_traits(config) for config in configs]
    for traits in described:
        del traits["family"], traits["paper"]
    assert all(described.count(traits) == 1 for traits in described)
    assert set(EXPECTED) <= set(FAMILIES)
