"""Whole checkpoints, as saved by transformers and others, on each backend."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backends import BACKENDS
from checkpoints import load_checkpoint, save_checkpoint
from safetensors.torch import load_file, save_file

from gpt2cli.checkpoint.architectures import GPT2
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.weights import expected_shapes
from gpt2cli.errors import CheckpointError
from gpt2cli.hub.model_files import ModelFiles
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.model import Model, load_model
from gpt2cli.ops.backend import open_backend
from gpt2cli.ops.numpy_ops import NumpyOps

IDS = [[5, 17, 99, 3, 0, 130]]
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> tuple[str, str]:
    chosen: tuple[str, str] = request.param
    return chosen


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return save_checkpoint(tmp_path_factory.mktemp("reference"))


def check(model: Model[Any], reference: Any, tolerance: float = 1e-4) -> None:
    actual = logits(model, hidden_states(model, model.ops.token_ids(IDS)))
    with torch.no_grad():
        expected = reference.float()(torch.tensor(IDS)).logits.numpy()
    np.testing.assert_allclose(model.ops.to_numpy(actual), expected, atol=tolerance, rtol=0)


def test_a_sharded_checkpoint_equals_its_whole(
    tmp_path: Path, backend: tuple[str, str], reference: Any
) -> None:
    reference.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    check(load_checkpoint(tmp_path, *backend), reference)


def test_a_checkpoint_without_its_head_equals_its_whole(
    tmp_path: Path, backend: tuple[str, str], reference: Any
) -> None:
    reference.transformer.save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors")
    assert "wte.weight" in names
    check(load_checkpoint(tmp_path, *backend), reference)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_checkpoint_of_another_number_type_is_computed_in_float32(
    tmp_path: Path, backend: tuple[str, str], dtype: torch.dtype
) -> None:
    reference = save_checkpoint(tmp_path).to(dtype)
    reference.save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors")["transformer.wte.weight"].dtype == dtype
    check(load_checkpoint(tmp_path, *backend), reference)


def test_a_pickled_checkpoint_equals_its_safetensors(
    tmp_path: Path, backend: tuple[str, str], reference: Any
) -> None:
    reference.config.save_pretrained(tmp_path)
    torch.save(reference.state_dict(), tmp_path / "pytorch_model.bin")
    check(load_checkpoint(tmp_path, *backend), reference)


def test_an_unsupported_activation_is_refused_before_the_weights_are_opened(tmp_path: Path) -> None:
    save_checkpoint(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"activation_function": "prelu"}))
    missing = ModelFiles("x", None, config, (tmp_path / "nothing.safetensors",), ())
    with pytest.raises(CheckpointError, match="activation_function 'prelu' is not supported"):
        load_model(missing, NumpyOps())


def test_float32_weights_are_neither_copied_at_loading_nor_at_computing(tmp_path: Path) -> None:
    config = ModelConfig(vocab_size=20_000, n_embd=1024, n_layer=1, n_head=4)
    path = tmp_path / "model.safetensors"
    shapes = {GPT2.full_name(name): shape for name, shape in expected_shapes(config).items()}
    save_file({name: torch.ones(shape) for name, shape in shapes.items()}, path)
    assert path.stat().st_size > 100 * MEBIBYTE
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    files = ModelFiles("large", None, tmp_path / "config.json", (path,), ())
    tracemalloc.start()
    model = load_model(files, NumpyOps())
    logits(model, hidden_states(model, model.ops.token_ids([[1]])))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEBIBYTE
    if Path("/proc/self/smaps").exists():
        # A page of the map that was written to would have become this process's own.
        assert private_bytes(path) == 0


def private_bytes(path: Path) -> int:
    inside, total = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Anonymous:"):
            total += 1024 * int(line.split()[1])
    return total


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_torch_computes_in_short_numbers_on_request(tmp_path: Path, dtype: str) -> None:
    reference = save_checkpoint(tmp_path)
    files = ModelFiles("x", None, tmp_path / "config.json", (tmp_path / "model.safetensors",), ())
    model = load_model(files, open_backend("cpu", dtype=dtype))
    assert model.ops.dtype_name == dtype
    check(model, reference, 2.0)
