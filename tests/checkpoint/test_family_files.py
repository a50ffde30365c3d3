"""Files of each family as other tools leave them: wrapped, adapted by PEFT, of other tasks, or misfitting."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from backends import BACKENDS
from families import FAMILIES, save_family
from notes import Notes
from safetensors.torch import load_file, save_file
from torch import Tensor

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.foreign.stored_names import StoredNames
from gpt2cli.checkpoint.weights import expected_shapes
from gpt2cli.errors import CheckpointError
from gpt2cli.hub.model_facts import count_parameters
from gpt2cli.hub.model_files import find_model
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.model import load_model
from gpt2cli.ops.backend import open_backend

pytestmark = pytest.mark.slow

IDS = [[5, 17, 99, 3, 0, 130]]
WEIGHTS = "model.safetensors"
# The modules that people adapt, and one outside the blocks.
ADAPTED: dict[str, Any] = {
    "gpt1": ["c_attn", "c_fc"],
    "gpt-neo": ["q_proj", "v_proj", "out_proj"],
    "gpt-neox": ["query_key_value", "dense", "dense_h_to_4h", "embed_out"],
    "llama": ["q_proj", "v_proj", "gate_proj", "down_proj", "lm_head"],
    "llama-3": ["k_proj", "o_proj", "up_proj", "embed_tokens"],
    "mistral": "all-linear",
    "qwen2": "all-linear",
}


def load(folder: Path, backend: str = "numpy", device: str = "cpu") -> tuple[np.ndarray[Any, Any], list[str]]:
    """Return the logits of the model in a folder for IDS, and the notes on it."""
    files = find_model(str(folder))
    assert files is not None
    notes = Notes()
    model = load_model(files, open_backend(device, backend, threads=1), reporter=notes)
    return model.ops.to_numpy(logits(model, hidden_states(model, model.ops.token_ids(IDS)))), notes.lines


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    return str(caught.value)


def expected(model: Any) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        found: np.ndarray[Any, Any] = model.eval()(torch.tensor(IDS)).logits.numpy()
    return found


def rewrite(folder: Path, change: Callable[[str, Tensor], tuple[str, Tensor]]) -> None:
    """Change each tensor in the weights file of a folder."""
    tensors = dict(change(*entry) for entry in load_file(folder / WEIGHTS).items())
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)


def adapt(base: Path, folder: Path, modules: Any, **settings: Any) -> Any:
    """Save a random adapter of a base model with PEFT, and return the adapted model."""
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager")
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=modules, task_type="CAUSAL_LM", **settings)
    adapted = peft.get_peft_model(model, config).eval()
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    adapted.save_pretrained(str(folder))
    return adapted


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", ADAPTED)
def test_adapters_of_peft_compute_what_peft_does(
    tmp_path: Path, family: str, backend: tuple[str, str]
) -> None:
    save_family(tmp_path / "base", family)
    adapted = adapt(tmp_path / "base", tmp_path / "adapter", ADAPTED[family])
    actual, notes = load(tmp_path / "adapter", *backend)
    np.testing.assert_allclose(actual, expected(adapted), atol=1e-4)
    assert np.abs(actual - load(tmp_path / "base")[0]).max() > 0.1
    assert notes == []


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("gpt-neox", {"lora_bias": True}),
        ("gpt-neox", {"bias": "all"}),
        ("llama-3", {"target_modules": ["q_proj", "down_proj"], "lora_bias": True}),
        ("qwen2", {"target_modules": ["q_proj"], "lora_bias": True}),
        ("llama", {"use_rslora": True, "modules_to_save": ["embed_tokens"]}),
        ("llama", {"use_rslora": True, "modules_to_save": ["lm_head"], "target_modules": ["q_proj"]}),
    ],
)
def test_biases_and_whole_modules_of_adapters_count(
    tmp_path: Path, family: str, settings: dict[str, Any]
) -> None:
    save_family(tmp_path / "base", family)
    modules = settings.pop("target_modules", ADAPTED[family])
    adapted = adapt(tmp_path / "base", tmp_path / "adapter", modules, **settings)
    np.testing.assert_allclose(load(tmp_path / "adapter")[0], expected(adapted), atol=1e-4)


@pytest.mark.parametrize(("family", "module"), [("llama", "lm_head"), ("mistral", "down_proj")])
def test_a_bias_for_a_matrix_without_one_is_refused(tmp_path: Path, family: str, module: str) -> None:
    save_family(tmp_path / "base", family)
    adapt(tmp_path / "base", tmp_path / "adapter", [module], lora_bias=True)
    assert f"{module} has no bias for the one of lora_B" in refusal(tmp_path / "adapter")


@pytest.mark.parametrize("family", ["gpt1", "gpt-neo", "gpt-neox", "llama", "qwen2"])
@pytest.mark.parametrize(
    "prefix",
    ["module.", "base_model.model.", "model.", "_orig_mod.", "module._orig_mod.", "_forward_module."],
)
def test_wrapped_names_are_unwrapped_with_one_note(tmp_path: Path, family: str, prefix: str) -> None:
    reference = save_family(tmp_path, family)
    rewrite(tmp_path, lambda name, tensor: (prefix + name, tensor))
    actual, notes = load(tmp_path)
    np.testing.assert_allclose(actual, expected(reference), atol=1e-4)
    (note,) = notes
    shown = "_orig_mod.module." if prefix == "module._orig_mod." else prefix
    assert f"the prefix {shown} is dropped" in note


@pytest.mark.parametrize("family", FAMILIES)
def test_all_names_of_transformers_are_known_with_and_without_the_head(tmp_path: Path, family: str) -> None:
    save_family(tmp_path, family)
    config = ModelConfig.from_json(tmp_path / "config.json")
    names = StoredNames(config.architecture, expected_shapes(config))
    stored = load_file(tmp_path / WEIGHTS)
    bare = [name.removeprefix(config.architecture.prefix) for name in stored]
    for found in (names.sort(stored), names.sort(bare)):
        assert found.weights.keys() == expected_shapes(config).keys()
        assert [found.unknown, found.extras, found.wrappers, found.repeated] == [[], {}, [], []]


@pytest.mark.parametrize(
    ("family", "task"),
    [
        ("gpt1", "OpenAIGPTDoubleHeadsModel"),
        ("gpt1", "OpenAIGPTForSequenceClassification"),
        ("gpt-neo", "GPTNeoForTokenClassification"),
        ("gpt-neo", "GPTNeoForQuestionAnswering"),
        ("qwen2", "Qwen2ForSequenceClassification"),
        ("qwen2", "Qwen2ForTokenClassification"),
    ],
)
def test_heads_of_other_tasks_are_left_out_where_the_head_is_tied(
    tmp_path: Path, family: str, task: str
) -> None:
    save_family(tmp_path / "base", family, pad_token_id=0)
    torch.manual_seed(1)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "base")
    getattr(transformers, task)(config).save_pretrained(tmp_path / "task")
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "task")
    actual, notes = load(tmp_path / "task")
    np.testing.assert_allclose(actual, expected(reference), atol=1e-4)
    (note,) = notes
    assert note.endswith("which a language model does not use.")


@pytest.mark.parametrize(
    ("family", "task", "head"),
    [
        ("llama", "LlamaModel", "lm_head"),
        ("llama", "LlamaForSequenceClassification", "lm_head"),
        ("mistral", "MistralForTokenClassification", "lm_head"),
        ("gpt-neox", "GPTNeoXForQuestionAnswering", "embed_out"),
    ],
)
def test_a_model_without_its_head_says_so(tmp_path: Path, family: str, task: str, head: str) -> None:
    save_family(tmp_path / "base", family, pad_token_id=0)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "base")
    getattr(transformers, task)(config).save_pretrained(tmp_path / "task")
    message = refusal(tmp_path / "task")
    assert f"{WEIGHTS} has no head ({head}.weight), and its config.json does not tie one" in message
    assert f"Use a {FAMILIES[family].model.__name__}" in message


@pytest.mark.parametrize(
    ("family", "key", "value", "found"),
    [
        ("gpt-neo", "num_layers", 5, 3),
        ("gpt-neox", "num_hidden_layers", 4, 3),
        ("gpt-neox", "intermediate_size", 60, 56),
        ("gpt-neox", "vocab_size", 130, 131),
        ("llama", "num_hidden_layers", 2, 3),
        ("llama", "hidden_size", 48, 24),
        ("llama", "intermediate_size", 44, 40),
        ("gpt1", "n_positions", 64, 48),
    ],
)
def test_a_size_that_differs_has_the_name_in_config_json(
    tmp_path: Path, family: str, key: str, value: int, found: int
) -> None:
    save_family(tmp_path, family)
    path = tmp_path / "config.json"
    values = {**json.loads(path.read_text()), key: value}
    if family == "gpt-neo":
        values |= {"attention_types": [[["local"], value]], "attention_layers": ["local"] * value}
    path.write_text(json.dumps(values))
    assert f"{key} is {value} there and {found} in the weights. Use the" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("family", "changes", "problem"),
    [
        (
            "llama",
            {"hidden_size": 25, "head_dim": None},
            "hidden_size 25 is not a multiple of num_attention_heads 6",
        ),
        (
            "llama",
            {"num_key_value_heads": 4},
            "num_attention_heads 6 is not a multiple of num_key_value_heads 4",
        ),
        ("gpt-neo", {"num_heads": 0}, "num_heads must be a positive whole number, not 0"),
        ("qwen2", {"rms_norm_eps": "small"}, "rms_norm_eps must be a number from 0 to 1, not 'small'"),
        ("gpt-neox", {"hidden_act": "prelu"}, "hidden_act 'prelu' is not supported"),
        ("gpt1", {"afn": "prelu"}, "afn 'prelu' is not supported"),
    ],
)
def test_a_wrong_value_has_the_name_in_config_json(
    tmp_path: Path, family: str, changes: dict[str, Any], problem: str
) -> None:
    save_family(tmp_path, family)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert f"config.json: {problem}." in refusal(tmp_path)


def test_shapes_and_layouts_are_those_of_the_file(tmp_path: Path) -> None:
    save_family(tmp_path, "llama")
    name = "layers.1.self_attn.k_proj.weight"
    rewrite(tmp_path, lambda key, tensor: (key, tensor[:4] if key.endswith(name) else tensor))
    assert f"{name} has shape [4, 24], not [8, 24]" in refusal(tmp_path)


def test_transposed_matrices_are_recognized(tmp_path: Path) -> None:
    save_family(tmp_path, "llama", intermediate_size=24)
    rewrite(tmp_path, lambda key, tensor: (key, tensor.T if ".k_proj" in key else tensor))
    assert "transposed: save them as (out, in), as transformers does" in refusal(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_counted_by_part(tmp_path: Path, family: str) -> None:
    model = save_family(tmp_path, family)
    counts = count_parameters(ModelConfig.from_json(tmp_path / "config.json"))
    assert sum(counts.values()) == model.num_parameters()
    named = dict(model.named_parameters())
    inside = {
        "attention": sum(
            weight.numel()
            for name, weight in named.items()
            if ".attn." in name or "attention." in name or "self_attn." in name
        ),
        "mlp": sum(weight.numel() for name, weight in named.items() if re.search(r"\.(mlp|fc\d)\.", name)),
    }
    assert {part: counts[part] for part in inside} == inside
    assert ("head" in counts) is not model.config.tie_word_embeddings
