"""Accepted and rejected contents of config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPT2Config

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.errors import CheckpointError
from gpt2cli.hub.known_models import KNOWN_MODELS, is_closed, known_model

JSON_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


def test_transformers_defaults_are_ours() -> None:
    assert ModelConfig.from_dict(GPT2Config().to_dict()) == ModelConfig(
        bos_token_id=50256, eos_token_id=50256
    )


def test_a_config_survives_writing_and_reading(tmp_path: Path) -> None:
    config = ModelConfig(vocab_size=7, n_inner=5, tie_word_embeddings=False, eos_token_id=0)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    assert ModelConfig.from_json(path) == config


def test_transformers_reads_what_is_written() -> None:
    ours = ModelConfig(vocab_size=7, n_embd=12, n_head=3, scale_attn_weights=False)
    theirs = GPT2Config.from_dict(ours.to_dict())
    assert ModelConfig.from_dict(theirs.to_dict()) == ours


SIZES = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner")
READ_ALIKE = (
    *(*SIZES, "activation_function", "layer_norm_epsilon", "scale_attn_weights"),
    *("scale_attn_by_inverse_layer_idx", "tie_word_embeddings"),
)
# As transformers, its older versions, OpenAI, Megatron and others have written them.
STYLES: dict[str, dict[str, Any]] = {
    "standard names": {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    },
    "both names": {"n_embd": 768, "hidden_size": 48, "n_head": 12, "num_attention_heads": 4},
    "both names the other way": {"hidden_size": 48, "n_embd": 768, "num_attention_heads": 4, "n_head": 12},
    "an old context beside the current one": {"n_ctx": 1024, "n_positions": 2048},
    "an old context beside the standard name": {"n_ctx": 1024, "max_position_embeddings": 2048},
    "Mistral": {"reorder_and_upcast_attn": True, "scale_attn_by_inverse_layer_idx": True, "n_ctx": 1024},
    "unscaled": {"scale_attn_weights": False},
    "Megatron": {"activation_function": "gelu", "n_inner": 3000, "layer_norm_epsilon": 1e-6},
    "null inner width": {"n_inner": None},
    "other makers' keys": {
        "hidden_act": "relu",
        "layer_norm_eps": 1e-3,
        "n_vocab": 7,
        "intermediate_size": 9,
    },
    "dropout and summaries": {"attn_pdrop": 0.0, "summary_type": "cls_index", "task_specific_params": {}},
    "types": {"torch_dtype": "float16", "dtype": "float16", "use_cache": False, "pruned_heads": {}},
    "untied": {"tie_word_embeddings": False},
    "ids": {"pad_token_id": 0, "num_labels": 3, "id2label": {"0": "no"}},
    "another class": {"architectures": ["GPT2ForSequenceClassification"], "add_cross_attention": True},
    **{name: {"activation_function": name} for name in ("relu", "silu", "gelu_fast", "quick_gelu", "tanh")},
}


@pytest.mark.parametrize("style", STYLES)
def test_a_config_of_any_style_means_what_it_means_to_transformers(tmp_path: Path, style: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "gpt2", **STYLES[style]}))
    ours, theirs = ModelConfig.from_json(path), GPT2Config.from_pretrained(tmp_path)
    assert [getattr(ours, name) for name in READ_ALIKE] == [getattr(theirs, name) for name in READ_ALIKE]


def test_the_old_name_of_the_context_is_written_too() -> None:
    written = ModelConfig(n_positions=77).to_dict()
    # The converter of llama.cpp asks for it.
    assert (written["n_ctx"], written["n_positions"]) == (77, 77)
    assert ModelConfig.from_dict(GPT2Config.from_dict(written).to_dict()).n_positions == 77


def test_the_old_name_of_the_context_is_read() -> None:
    assert ModelConfig.from_dict({"n_ctx": 33}).n_positions == 33
    assert ModelConfig.from_dict({"n_ctx": 33, "n_positions": 44}).n_positions == 44


def test_the_first_of_several_end_tokens_counts() -> None:
    assert ModelConfig.from_dict({"eos_token_id": [3, 4]}).eos_token_id == 3
    assert ModelConfig.from_dict({"eos_token_id": []}).eos_token_id is None


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"model_type": "bert"}, "model_type 'bert'"),
        ({"model_type": ["gpt2"]}, "model_type ['gpt2']"),
        ({"n_layer": 0}, "n_layer must be a positive whole number, not 0"),
        ({"n_layer": "12"}, "n_layer must be a positive whole number, not '12'"),
        ({"vocab_size": True}, "vocab_size must be"),
        ({"n_embd": 10, "n_head": 3}, "n_embd 10 is not a multiple of n_head 3"),
        ({"n_inner": 0}, "n_inner must be null or a width"),
        ({"eos_token_id": -1}, "eos_token_id must be null or a token id"),
        ({"eos_token_id": ["x"]}, "eos_token_id must be null or a token id"),
        ({"layer_norm_epsilon": None}, "layer_norm_epsilon must be a number"),
        ({"layer_norm_epsilon": -1e-5}, "layer_norm_epsilon must be a number"),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings must be true or false"),
        ({"activation_function": "xielu"}, "activation_function 'xielu' is not supported"),
        ({"activation_function": ["gelu"]}, "activation_function"),
        (
            {"model_type": "opt", "do_layer_norm_before": False},
            "do_layer_norm_before False is not supported, only True is",
        ),
    ],
)
def test_a_senseless_value_is_named(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        ModelConfig.from_dict(values)
    assert complaint in caught.value.message


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(list(ModelConfig.__dataclass_fields__)), JSON_VALUES))
def test_any_json_is_either_a_config_or_a_checkpoint_error(values: dict[str, Any]) -> None:
    try:
        config = ModelConfig.from_dict(values)
    except CheckpointError:
        return
    assert config.head_width * config.n_head == config.n_embd


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is not valid JSON"),
        (b'{"n_layer": 1', "is not valid JSON"),
        (b"\xff\xfe\x00", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"[]", "is not a JSON object"),
    ],
)
def test_a_damaged_config_file_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        ModelConfig.from_json(path)
    assert str(path) in caught.value.message


def test_a_missing_config_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        ModelConfig.from_json(tmp_path / "config.json")


def test_every_name_of_a_known_model_means_it_alone() -> None:
    for model in KNOWN_MODELS:
        for name in (model.name, model.repo, *model.aliases):
            assert known_model(name) is model
            assert known_model(name.upper()) is model
    assert known_model("gpt3") is None
    assert not any(is_closed(name) for model in KNOWN_MODELS for name in (model.name, *model.aliases))


ODD_VALUES: list[Any] = [
    *(1 << 31, 1 << 32, 1 << 63, 1 << 64, 10**30, 10_001, 0, -1, 0.5, 1e300, 1e-300, float("nan")),
    *(float("inf"), "", "9" * 4000, [], {}, [10**30], [[["global"], 1 << 40]], [["x"]], None, True, False),
    *({"rope_type": "llama3", "factor": 1e300}, {"rope_type": []}, {"rope_type": "x" * 999}),
]
MORE_KEYS = (
    "sliding_window",
    "use_sliding_window",
    "head_dim",
    "rope_scaling",
    "attention_layers",
    "layer_types",
)


def config_or_refusal(values: dict[str, Any]) -> ModelConfig | str:
    try:
        return ModelConfig.from_dict(values)
    except CheckpointError as error:
        return error.message


def test_the_first_layer_with_a_window_is_a_whole_number() -> None:
    values = {**FAMILIES["qwen2-window"].settings, "model_type": "qwen2", "max_window_layers": "1"}
    assert config_or_refusal(values) == "config.json: max_window_layers must be a whole number, not '1'."


@pytest.mark.parametrize("family", FAMILIES)
def test_an_odd_value_is_refused_in_a_line_before_anything_is_built_from_it(family: str) -> None:
    values = FAMILIES[family].config(**FAMILIES[family].settings).to_dict()
    parts = [(values, key) for key in (*values, *MORE_KEYS)]
    parts += [(part, key) for part in values.values() if isinstance(part, dict) for key in part]
    for part, key in parts:
        kept = dict(part)
        for value in ODD_VALUES:
            part[key] = value
            config = config_or_refusal(values)
            if isinstance(config, str):
                assert len(config) < 400
                assert config.isprintable()
            else:
                assert max(config.n_layer, len(config.windows)) <= 10_000
        part.clear()
        part.update(kept)
