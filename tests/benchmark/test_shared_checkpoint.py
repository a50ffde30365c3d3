"""The checkpoint that other engines get: the weights that this package computes with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import load_checkpoint, save_model_folder
from safetensors.torch import load_file, save_file
from transformers import GPT2LMHeadModel

from gpt2cli.benchmark.peers.shared_checkpoint import share_checkpoint
from gpt2cli.hub.model_files import find_model
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.text.loading import load_tokenizer

IDS = [[5, 17, 99, 3, 0, 130]]


@pytest.mark.parametrize("form", ["plain", "wrapped", "adapter", "head of its own"])
def test_transformers_computes_the_same_logits_from_the_shared_checkpoint(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "model"
    save_model_folder(folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    if form == "wrapped":
        save_file({f"module.{name}": tensor for name, tensor in tensors.items()}, path)
    if form == "head of its own":
        save_file({**tensors, "lm_head.weight": tensors["transformer.wte.weight"] * 2}, path)
    if form == "adapter":
        module = "base_model.model.transformer.h.1.mlp.c_fc"
        factors = {f"{module}.lora_A.weight": torch.ones(2, 24), f"{module}.lora_B.weight": torch.ones(96, 2)}
        (tmp_path / "adapter").mkdir()
        save_file(factors, tmp_path / "adapter" / "adapter_model.safetensors")
        settings = {"peft_type": "LORA", "base_model_name_or_path": str(folder), "lora_alpha": 2}
        folder = tmp_path / "adapter"
        (folder / "adapter_config.json").write_text(json.dumps(settings))
    files = find_model(str(folder))
    assert files is not None
    share_checkpoint(files, load_tokenizer(files, files.read_config()), tmp_path / "shared")
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path / "shared").eval()
    ours = load_checkpoint(folder)
    actual = ours.ops.to_numpy(logits(ours, hidden_states(ours, ours.ops.token_ids(IDS))))
    with torch.no_grad():
        np.testing.assert_allclose(theirs(torch.tensor(IDS)).logits.numpy(), actual, atol=1e-4)
    assert (tmp_path / "shared" / "model.safetensors").is_symlink() is (form == "plain")
