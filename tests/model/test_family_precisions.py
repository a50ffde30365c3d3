"""Each family in 16 and 8 bits, against itself in float32 and among other rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backends import needs_kernels
from checkpoints import load_checkpoint
from families import FAMILIES, save_family
from safetensors.torch import load_file, save_file
from test_families import run, some_ids

from gpt2cli.checkpoint import conversion
from gpt2cli.checkpoint.roles import HEAD, TOKEN_EMBEDDING, is_layer_matrix
from gpt2cli.hub.model_files import find_model
from gpt2cli.model.kv_cache import KVCache
from gpt2cli.model.model import Model, load_model
from gpt2cli.ops.backend import open_backend

pytestmark = [needs_kernels, pytest.mark.slow]

NARROW: dict[str, Any] = {
    "float16": {"dtype": "float16"},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"quantize": "int8"},
}
# The root of the mean squared error of the logits, relative to their deviation. These random weights are
# wide and magnify what rounding changes: in trained models it is smaller.
BOUNDS = {"float16": 0.004, "bfloat16": 0.03, "int8": 0.1}


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep converted matrices in a folder of the test, and return it."""
    monkeypatch.setenv("HF_ASSETS_CACHE", str(tmp_path / "assets"))
    return tmp_path / "assets"


def open_narrow(folder: Path, kind: str, screened: bool = False) -> Model[Any]:
    files = find_model(str(folder))
    assert files is not None
    return load_model(files, open_backend("cpu", "compiled", threads=2, **NARROW[kind]), screened)


@pytest.mark.parametrize("kind", NARROW)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_near_those_in_float32_and_the_same_in_any_batch(
    tmp_path: Path, kept: Path, family: str, kind: str
) -> None:
    save_family(tmp_path / family, family)
    ids = some_ids(9, 40)
    exact = run(load_checkpoint(tmp_path / family), ids)
    model = open_narrow(tmp_path / family, kind)
    narrow = run(model, ids)
    assert 0 < np.sqrt(np.square(narrow - exact).mean()) < BOUNDS[kind] * exact.std()
    for number in (0, 4, 8):
        assert run(model, [ids[number]]).tobytes() == narrow[number : number + 1].tobytes()
    cache = KVCache(model.config, model.ops, 9, 40)
    parts = [
        run(model, [row[start:end] for row in ids], cache) for start, end in ((0, 13), (13, 14), (14, 40))
    ]
    assert np.concatenate(parts, axis=1).tobytes() == narrow.tobytes()
    (file,) = kept.rglob("*.safetensors")
    time = file.stat().st_mtime_ns
    assert run(open_narrow(tmp_path / family, kind), ids).tobytes() == narrow.tobytes()
    assert file.stat().st_mtime_ns == time


@pytest.mark.parametrize(("kind", "bound"), [("float16", 0.01), ("bfloat16", 0.06)])
@pytest.mark.parametrize("family", FAMILIES)
def test_torch_computes_in_16_bits_near_float32(tmp_path: Path, family: str, kind: str, bound: float) -> None:
    save_family(tmp_path, family)
    ids = some_ids(2, 40)
    exact = run(load_checkpoint(tmp_path), ids)
    files = find_model(str(tmp_path))
    assert files is not None
    narrow = run(load_model(files, open_backend("cpu", "torch", dtype=kind, threads=1)), ids)
    assert 0 < np.sqrt(np.square(narrow - exact).mean()) < bound * exact.std()


@pytest.mark.parametrize("kind", NARROW)
@pytest.mark.parametrize("family", FAMILIES)
def test_all_matrices_and_the_head_are_narrow_and_tables_stay(tmp_path: Path, family: str, kind: str) -> None:
    save_family(tmp_path / family, family)
    model = open_narrow(tmp_path / family, kind)
    for name, weight in model.weights.items():
        if name == HEAD or is_layer_matrix(name, weight.shape):
            array = getattr(weight, "array", weight)
            stored = "int8" if hasattr(weight, "panels") else str(array.dtype)
            assert stored == kind.replace("bfloat16", "uint16")
    assert model.weights[TOKEN_EMBEDDING].array.dtype == np.float32


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", ["gpt1", "gpt-neo", "gpt-neox", "llama", "llama-3"])
def test_matrices_stored_in_the_type_are_used_where_they_lie(
    tmp_path: Path, kept: Path, family: str, kind: torch.dtype
) -> None:
    folder = tmp_path / family
    save_family(folder, family)
    path = folder / "model.safetensors"
    save_file({name: tensor.to(kind) for name, tensor in load_file(path).items()}, path, {"format": "pt"})
    model = open_narrow(folder, str(kind).removeprefix("torch."))
    exact = run(load_checkpoint(folder), some_ids(2, 40))
    np.testing.assert_allclose(run(model, some_ids(2, 40)), exact, atol=1e-3)
    assert not list(kept.rglob("*.safetensors"))


@pytest.mark.parametrize("storage", [None, "float16", "bfloat16"])
@pytest.mark.parametrize("family", ["gpt1", "gpt-neox", "llama", "llama-3"])
def test_a_screened_head_finds_the_highest_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, storage: str | None
) -> None:
    from gpt2cli.model.decoder import hidden_states, logits

    monkeypatch.setattr(conversion, "SCREENED_FROM_BYTES", 0)
    save_family(tmp_path / family, family, vocab_size=2048)
    files = find_model(str(tmp_path / family))
    assert files is not None
    ops = open_backend("cpu", "compiled", threads=2, dtype=storage or "float32")
    whole, screened = load_model(files, ops), load_model(files, ops, screened=True)
    assert screened.parts.head.screen is not None
    for row in some_ids(9, 12):
        ids = ops.token_ids([row])
        exact = logits(whole, hidden_states(whole, ids, first=-1))[0, 0]
        found = logits(screened, hidden_states(screened, ids, first=-1), top=3)[0, 0]
        best = np.argsort(-exact)[:3]
        assert np.argsort(-found)[:3].tolist() == best.tolist()
        assert found[best].tobytes() == exact[best].tobytes()
    assert np.isneginf(found).any()
