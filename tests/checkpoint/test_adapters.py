"""LoRA adapters in PEFT's files, against PEFT itself and against the sums written out in PyTorch."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backends import BACKENDS, needs_kernels
from checkpoints import TINY, save_checkpoint
from notes import Notes
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GPT2LMHeadModel

from gpt2cli.errors import CheckpointError
from gpt2cli.hub.cache import assets_folder
from gpt2cli.hub.model_files import find_model
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.model import Model, load_model
from gpt2cli.ops.backend import open_backend
from gpt2cli.ops.numpy_ops import widen

IDS = [[5, 17, 99, 3, 0, 130]]
WIDTH = TINY["n_embd"]
# The sizes (in, out) of the modules that GPT-2 has in each layer.
MODULES = {
    "attn.c_attn": (WIDTH, 3 * WIDTH),
    "attn.c_proj": (WIDTH, WIDTH),
    "mlp.c_fc": (WIDTH, 4 * WIDTH),
    "mlp.c_proj": (4 * WIDTH, WIDTH),
}
SETTINGS = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "../base",
    "r": 4,
    "lora_alpha": 10,
    "fan_in_fan_out": True,
    "bias": "none",
}
Adapter = dict[str, Tensor]


def factors(modules: Mapping[str, tuple[int, int]], rank: int = 4) -> Adapter:
    """Return random factors of modules of sizes (in, out), under the names of PEFT's files."""
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for module, (wide, out) in modules.items():
        prefix = f"base_model.model.{module}"
        tensors[f"{prefix}.lora_A.weight"] = torch.randn(rank, wide, generator=generator) * 0.3
        tensors[f"{prefix}.lora_B.weight"] = torch.randn(out, rank, generator=generator) * 0.3
    return tensors


def in_all_layers(*kinds: str) -> dict[str, tuple[int, int]]:
    layers = range(TINY["n_layer"])
    return {f"transformer.h.{layer}.{kind}": MODULES[kind] for layer in layers for kind in kinds}


def save_adapter(folder: Path, tensors: Adapter, pickled: bool = False, **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**SETTINGS, **settings}))
    if pickled:
        torch.save(tensors, folder / "adapter_model.bin")
    else:
        save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    return folder


def add(reference: GPT2LMHeadModel, tensors: Adapter, scale: float) -> None:
    """Add the products of factors to the weights of a model of transformers."""
    with torch.no_grad():
        for name, down in tensors.items():
            if name.endswith(".lora_A.weight"):
                module = reference.get_submodule(name.split(".", 2)[2].removesuffix(".lora_A.weight"))
                up = tensors[name.replace("lora_A", "lora_B")]
                # Conv1D of transformers stores (in, out).
                module.weight += scale * (up @ down).T


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GPT2LMHeadModel]:
    folder = tmp_path_factory.mktemp("base")
    return folder, save_checkpoint(folder)


@pytest.fixture
def base(
    saved: tuple[Path, GPT2LMHeadModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> GPT2LMHeadModel:
    """Return a model of which each test may change its own copy, and its own folder `base`."""
    # The name of a base is looked up in the current folder first.
    monkeypatch.chdir(tmp_path)
    folder, model = saved
    shutil.copytree(folder, tmp_path / "base")
    return copy.deepcopy(model)


def open_adapter(folder: Path, backend: str = "numpy", device: str = "cpu", **options: Any) -> Model[Any]:
    files = find_model(str(folder))
    assert files is not None
    return load_model(files, open_backend(device, backend, threads=1, **options))


def scores(model: Model[Any]) -> np.ndarray[Any, Any]:
    return model.ops.to_numpy(logits(model, hidden_states(model, model.ops.token_ids(IDS))))


def expected(model: Any) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        found: np.ndarray[Any, Any] = model.eval()(torch.tensor(IDS)).logits.numpy()
    return found


def check(folder: Path, reference: Any, backend: tuple[str, str] = ("numpy", "cpu")) -> None:
    np.testing.assert_allclose(scores(open_adapter(folder, *backend)), expected(reference), atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kinds", [("attn.c_attn",), ("attn.c_proj", "mlp.c_proj"), tuple(MODULES)], ids=len)
def test_an_adapter_of_any_modules_is_merged_on_every_backend(
    tmp_path: Path, base: GPT2LMHeadModel, backend: tuple[str, str], kinds: tuple[str, ...]
) -> None:
    tensors = factors(in_all_layers(*kinds))
    before = expected(base)
    add(base, tensors, 10 / 4)
    assert np.abs(expected(base) - before).max() > 0.1
    check(save_adapter(tmp_path / "adapter", tensors), base, backend)


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({"r": 4, "lora_alpha": 3}, 3 / 4),
        ({"lora_alpha": 3, "use_rslora": True}, 3 / math.sqrt(4)),
        # The rank that counts is that of the factors.
        ({"r": 64, "rank_pattern": {"c_attn": 4}, "lora_alpha": 16}, 16 / 4),
        ({"lora_alpha": 1, "alpha_pattern": {"c_proj": 9, "attn.c_attn": 2}}, 2 / 4),
        ({"lora_alpha": 1, "alpha_pattern": {r"^transformer\.h\.\d+\.attn\.c_attn": 2}}, 2 / 4),
        ({"lora_alpha": 1, "alpha_pattern": {"attn": 9, "h.1.attn.c_fc": 9}}, 1 / 4),
        # GPT-2's Conv1D decides the layout; PEFT corrects the setting.
        ({"fan_in_fan_out": False, "lora_alpha": 8}, 8 / 4),
        ({"init_lora_weights": "gaussian", "lora_alpha": 8}, 8 / 4),
    ],
)
def test_settings_decide_how_much_is_added(
    tmp_path: Path, base: GPT2LMHeadModel, settings: dict[str, Any], scale: float
) -> None:
    tensors = factors(in_all_layers("attn.c_attn"))
    add(base, tensors, scale)
    check(save_adapter(tmp_path / "adapter", tensors, **settings), base)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_an_adapter_on_a_base_of_any_type_loses_nothing(
    tmp_path: Path, base: GPT2LMHeadModel, dtype: torch.dtype
) -> None:
    path = tmp_path / "base" / "model.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in load_file(path).items()}, path, {"format": "pt"})
    reference = GPT2LMHeadModel.from_pretrained(tmp_path / "base", dtype=torch.float32)
    tensors = {name: tensor.to(dtype) for name, tensor in factors(in_all_layers("mlp.c_fc")).items()}
    add(reference, {name: tensor.float() for name, tensor in tensors.items()}, 10 / 4)
    check(save_adapter(tmp_path / "adapter", tensors), reference)
    assert base.config.n_layer == 3


def test_an_old_adapter_is_read_too_and_so_are_names_of_adapters_in_memory(
    tmp_path: Path, base: GPT2LMHeadModel
) -> None:
    tensors = factors(in_all_layers("attn.c_attn"))
    add(base, tensors, 10 / 4)
    check(save_adapter(tmp_path / "old", tensors, pickled=True), base)
    named = {name.replace(".weight", ".default.weight"): tensor for name, tensor in tensors.items()}
    check(save_adapter(tmp_path / "named", named), base)


def test_an_adapter_trained_for_classification_leaves_its_head_out(
    tmp_path: Path, base: GPT2LMHeadModel
) -> None:
    tensors = factors(in_all_layers("attn.c_attn"))
    add(base, tensors, 10 / 4)
    score = {"base_model.model.score.weight": torch.zeros(2, WIDTH)}
    folder = save_adapter(tmp_path / "adapter", {**tensors, **score}, modules_to_save=["score"])
    notes = Notes()
    files = find_model(str(folder))
    assert files is not None
    model = load_model(files, open_backend("cpu", "numpy"), reporter=notes)
    np.testing.assert_allclose(scores(model), expected(base), atol=1e-4)
    assert notes.lines == [
        f"{folder / 'adapter_model.safetensors'}: leaving out score, which a language model does not use."
    ]


# What PEFT is asked for, and whether the head is another matrix than the embedding afterwards.
PEFT_CASES: dict[str, tuple[dict[str, Any], bool]] = {
    "all linear layers": ({"target_modules": "all-linear"}, False),
    "one layer": ({"target_modules": ["c_attn", "c_fc"], "layers_to_transform": [1]}, False),
    "ranks": ({"target_modules": ["c_attn"], "rank_pattern": {"h.1.attn.c_attn": 3}}, False),
    "alphas": ({"target_modules": ["c_attn"], "alpha_pattern": {"h.1.attn.c_attn": 3}}, False),
    "root": ({"target_modules": ["c_attn"], "use_rslora": True, "lora_alpha": 5}, False),
    "all biases": ({"target_modules": ["c_attn"], "bias": "all"}, False),
    "own biases": ({"target_modules": ["c_attn", "c_proj"], "bias": "lora_only"}, False),
    "bias of B": ({"target_modules": ["c_attn"], "lora_bias": True}, False),
    "norm and positions": ({"target_modules": ["c_attn"], "modules_to_save": ["ln_f", "wpe"]}, False),
    "head saved": ({"target_modules": ["c_attn"], "modules_to_save": ["lm_head"]}, True),
    "embedding saved": ({"target_modules": ["c_attn"], "modules_to_save": ["wte"]}, True),
    "both saved": ({"target_modules": ["c_attn"], "modules_to_save": ["wte", "lm_head"]}, True),
    "head adapted": ({"target_modules": ["c_attn", "lm_head"]}, True),
    "embedding adapted": ({"target_modules": ["c_attn", "wte"]}, True),
    "more tokens": ({"target_modules": ["c_attn"]}, False),
    "more tokens in an adapted embedding": ({"target_modules": ["c_attn", "wte"]}, True),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", PEFT_CASES)
def test_logits_are_those_of_peft(tmp_path: Path, base: GPT2LMHeadModel, case: str) -> None:
    peft = pytest.importorskip("peft")
    settings, has_own_head = PEFT_CASES[case]
    parent = GPT2LMHeadModel.from_pretrained(tmp_path / "base")
    if "more tokens" in case:
        parent.resize_token_embeddings(140)
    adapted = peft.get_peft_model(parent, peft.LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    adapted.save_pretrained(tmp_path / "adapter")
    theirs = expected(adapted)
    for backend in ("compiled", "numpy", "torch"):
        model = open_adapter(tmp_path / "adapter", backend)
        np.testing.assert_allclose(scores(model), theirs, atol=1e-4)
        assert model.config.tie_word_embeddings is not has_own_head
        assert model.config.vocab_size == theirs.shape[-1]


@needs_kernels
def test_each_adapter_has_its_own_conversion_beside_that_of_the_base(
    tmp_path: Path, base: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ASSETS_CACHE", str(tmp_path / "assets"))
    tensors = factors(in_all_layers(*MODULES))
    folders = [tmp_path / "base", *(tmp_path / name for name in ("weak", "strong"))]
    for folder, alpha in zip(folders[1:], (1, 20), strict=True):
        save_adapter(folder, tensors, lora_alpha=alpha)
    first = [scores(open_adapter(folder, "compiled", quantize="int8")) for folder in folders]
    kept = {path.name: path.read_bytes() for path in assets_folder().glob("*.safetensors")}
    assert sorted(name.partition("-")[0] for name in kept) == ["base", "strong", "weak"]
    assert all(np.abs(a - b).max() > 0.1 for a, b in ((first[0], first[1]), (first[1], first[2])))
    again = [scores(open_adapter(folder, "compiled", quantize="int8")) for folder in folders]
    for before, after in zip(first, again, strict=True):
        np.testing.assert_array_equal(before, after)
    assert {path.name: path.read_bytes() for path in assets_folder().glob("*.safetensors")} == kept
    # The settings are a source of the conversion as much as the weights.
    save_adapter(folders[1], tensors, lora_alpha=20)
    np.testing.assert_array_equal(scores(open_adapter(folders[1], "compiled", quantize="int8")), first[2])


def test_adapted_matrices_alone_are_held_in_memory(tmp_path: Path, base: GPT2LMHeadModel) -> None:
    folder = save_adapter(tmp_path / "adapter", factors(in_all_layers("attn.c_attn")))
    files = find_model(str(folder))
    assert files is not None
    plain = find_model(str(tmp_path / "base"))
    assert plain is not None
    (_, stored), (_, before) = files.read_checkpoint(), plain.read_checkpoint()
    assert stored.keys() == before.keys()
    changed = {name for name in stored if not np.array_equal(stored[name].array, before[name].array)}
    assert changed == {f"layers.{layer}.attention_qkv.weight" for layer in range(3)}
    assert all(stored[name].read_rows or stored[name].array.ndim == 1 for name in stored.keys() - changed)
    assert all(widen(stored[name].array).flags.c_contiguous for name in changed)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            {"peft_type": "IA3"},
            "'IA3' are not supported, only LoRA is. Merge it into its base",
        ),
        (
            {"peft_type": "PROMPT_TUNING"},
            "'PROMPT_TUNING' are not supported, only LoRA is. It works",
        ),
        ({"peft_type": None}, "adapters of the type None are not supported"),
        (
            {"use_dora": True},
            "use_dora is not supported. Merge it into its base with PEFT",
        ),
        ({"trainable_token_indices": [3]}, "trainable_token_indices is not supported"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication is not supported"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' changes the base model. Merge it"),
        (
            {"base_model_name_or_path": None},
            "does not name the base model of its LoRA adapter. Set",
        ),
        ({"base_model_name_or_path": ""}, "does not name the base model"),
        ({"lora_alpha": "much"}, "lora_alpha must be a number, not 'much'"),
        ({"alpha_pattern": [1]}, "alpha_pattern must be an object"),
        ({"alpha_pattern": {"c_(attn": 1}}, "alpha_pattern is not a regular expression"),
        ({"alpha_pattern": {"c_attn": None}}, "alpha_pattern must be a number"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(
    tmp_path: Path, base: GPT2LMHeadModel, settings: dict[str, Any], complaint: str
) -> None:
    folder = save_adapter(tmp_path / "adapter", factors(in_all_layers("attn.c_attn")), **settings)
    with pytest.raises(CheckpointError) as caught:
        open_adapter(folder)
    message = str(caught.value)
    assert complaint in message
    assert message.startswith(str(folder / "adapter_config.json"))
    assert "\n" not in message


QKV = "base_model.model.transformer.h.0.attn.c_attn"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({f"{QKV}.lora_A.weight": torch.zeros(4, 9)}, "do not fit [24, 72]"),
        ({f"{QKV}.lora_B.weight": torch.zeros(72, 5)}, "do not fit [24, 72]"),
        ({f"{QKV}.lora_B.weight": torch.zeros(72)}, "do not fit [24, 72]"),
        ({f"{QKV}.lora_A.weight": torch.zeros(())}, "do not fit [24, 72]"),
        (
            {f"{QKV}.lora_A.weight": torch.zeros(0, 24), f"{QKV}.lora_B.weight": torch.zeros(72, 0)},
            "do not fit [24, 72]",
        ),
        ({f"{QKV}.lora_B.bias": torch.zeros(1)}, "do not fit [24, 72]"),
        ({"base_model.model.transformer.wte.weight": torch.zeros(())}, "wte.weight has shape []"),
        ({"base_model.model.lm_head.weight": torch.zeros(())}, "lm_head.weight has shape []"),
        ({f"{QKV}.lora_A.weight": torch.zeros(4, 24, dtype=torch.int8)}, "lora_A.weight is not a float"),
        ({f"{QKV}.lora_magnitude_vector": torch.zeros(72)}, "lora_magnitude_vector is not in it"),
        ({f"{QKV.replace('0', '7')}.lora_A.weight": torch.zeros(4, 24)}, "h.7.attn.c_attn is not in it"),
        ({"base_model.model.transformer.ln_f.weight": torch.zeros(9)}, "ln_f.weight has shape [9], not [24]"),
        (
            {"base_model.model.transformer.wte.weight": torch.zeros(9, 24)},
            "the embedding has 9 tokens and the head 131",
        ),
    ],
)
def test_an_adapter_that_does_not_fit_its_base_is_explained(
    tmp_path: Path, base: GPT2LMHeadModel, change: Adapter, complaint: str
) -> None:
    folder = save_adapter(tmp_path / "adapter", factors(in_all_layers("attn.c_attn")) | change)
    with pytest.raises(CheckpointError) as caught:
        open_adapter(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'adapter_model.safetensors'} does not fit its base model ../base: ")
    assert complaint in message
    assert "Set base_model_name_or_path in" in message


@pytest.mark.parametrize("content", [b"", b"[]", b'{"peft_type": "LORA"', b"\xff"])
def test_a_damaged_adapter_config_is_named(tmp_path: Path, base: GPT2LMHeadModel, content: bytes) -> None:
    folder = save_adapter(tmp_path / "adapter", factors(in_all_layers("attn.c_attn")))
    (folder / "adapter_config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"adapter_config\.json is not (valid JSON|a JSON object)"):
        open_adapter(folder)
