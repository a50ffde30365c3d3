"""The forward pass, against transformers and against itself computed another way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backends import BACKENDS
from checkpoints import TINY, load_checkpoint, save_checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers.activations import ACT2CLS

from gpt2cli.checkpoint.config import ACTIVATION_FUNCTIONS
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.kv_cache import KVCache
from gpt2cli.model.model import Model

Array = np.ndarray[Any, np.dtype[Any]]
Checkpoint = Callable[..., tuple[Path, Any]]
TOLERANCE = 1e-4
GREEDY_TOKENS = 200

VARIATIONS: dict[str, dict[str, Any]] = {
    "as OpenAI's": {},
    "untied head": {"tie_word_embeddings": False},
    "inner width": {"n_inner": 40},
    "unscaled attention": {"scale_attn_weights": False},
    "attention scaled by layer": {"scale_attn_by_inverse_layer_idx": True},
    "both scalings changed": {"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True},
    "upcast attention": {"reorder_and_upcast_attn": True, "scale_attn_by_inverse_layer_idx": True},
    "large epsilon": {"layer_norm_epsilon": 0.1},
    "one of everything": {"n_layer": 1, "n_head": 1, "n_embd": 1, "n_positions": 1, "vocab_size": 2},
    "wide heads": {
        "n_layer": 2,
        "n_head": 2,
        "n_embd": 130,
        "vocab_size": 1009,
        "n_positions": 300,
        "initializer_range": 0.1,
    },
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Return a function that makes a checkpoint of a configuration once and returns folder and model."""
    made: dict[str, tuple[Path, Any]] = {}

    def make(**config: Any) -> tuple[Path, Any]:
        key = repr(sorted(config.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("decoder")
            made[key] = folder, save_checkpoint(folder, **config)
        return made[key]

    return make


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> tuple[str, str]:
    chosen: tuple[str, str] = request.param
    return chosen


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoint, backend: tuple[str, str]) -> Model[Any]:
    return load_checkpoint(checkpoint()[0], *backend)


def random_ids(model: Model[Any], batch: int, time: int, seed: int = 0) -> list[list[int]]:
    ids: list[list[int]] = (
        np.random.default_rng(seed).integers(0, model.config.vocab_size, (batch, time)).tolist()
    )
    return ids


def run(model: Model[Any], ids: list[list[int]], cache: KVCache[Any] | None = None) -> Array:
    return model.ops.to_numpy(logits(model, hidden_states(model, model.ops.token_ids(ids), cache)))


def new_cache(model: Model[Any], batch: int = 1) -> KVCache[Any]:
    return KVCache(model.config, model.ops, batch, model.config.n_positions)


def expected_logits(reference: Any, ids: list[list[int]]) -> Array:
    with torch.no_grad():
        array: Array = reference(torch.tensor(ids)).logits.numpy()
    return array


@pytest.mark.parametrize("config", VARIATIONS.values(), ids=VARIATIONS)
def test_logits_equal_those_of_transformers(
    checkpoint: Checkpoint, backend: tuple[str, str], config: dict[str, Any]
) -> None:
    folder, reference = checkpoint(**config)
    model = load_checkpoint(folder, *backend)
    ids = random_ids(model, 3, model.config.n_positions)
    np.testing.assert_allclose(run(model, ids), expected_logits(reference, ids), atol=TOLERANCE, rtol=0)


def test_logits_equal_those_of_transformers_with_every_activation(
    checkpoint: Checkpoint, backend: tuple[str, str]
) -> None:
    # Those of one mathematical function are the same class.
    for name in sorted({str(ACT2CLS[name]): name for name in ACTIVATION_FUNCTIONS}.values()):
        folder, reference = checkpoint(activation_function=name, n_layer=2)
        model = load_checkpoint(folder, *backend)
        ids = random_ids(model, 1, 20)
        # Squares let numbers, and with them rounding, grow large.
        expected = expected_logits(reference, ids)
        np.testing.assert_allclose(run(model, ids), expected, atol=TOLERANCE, rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_greedy_ids_equal_those_of_transformers(checkpoint: Checkpoint, backend: tuple[str, str]) -> None:
    folder, reference = checkpoint(n_positions=GREEDY_TOKENS + 8)
    prompt = [[5, 17, 99, 3]]
    expected = reference.generate(
        torch.tensor(prompt), max_new_tokens=GREEDY_TOKENS, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    model = load_checkpoint(folder, *backend)
    cache = new_cache(model)
    row = list(prompt[0])
    new = row
    for _ in range(GREEDY_TOKENS):
        new = [int(run(model, [new], cache)[0, -1].argmax())]
        row += new
    assert row == expected[0].tolist()


def test_the_backends_agree(checkpoint: Checkpoint) -> None:
    on_numpy, on_torch = (load_checkpoint(checkpoint()[0], name) for name in ("numpy", "torch"))
    ids = random_ids(on_numpy, 2, 48)
    np.testing.assert_allclose(run(on_numpy, ids), run(on_torch, ids), atol=TOLERANCE, rtol=0)


@given(cuts=st.lists(st.integers(1, 20), min_size=1, max_size=8))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reading_in_pieces_equals_reading_at_once(model: Model[Any], cuts: list[int]) -> None:
    ids = random_ids(model, 2, min(sum(cuts), model.config.n_positions))
    cache = new_cache(model, 2)
    pieces, start = [], 0
    for cut in cuts:
        piece = [row[start : start + cut] for row in ids]
        if piece[0]:
            pieces.append(run(model, piece, cache))
        start += cut
    assert cache.length == len(ids[0])
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), run(model, ids), atol=TOLERANCE, rtol=0)


def test_a_batch_row_equals_its_single_run(model: Model[Any]) -> None:
    ids = random_ids(model, 5, 30)
    together = run(model, ids)
    for row, expected in zip(ids, together, strict=True):
        np.testing.assert_allclose(run(model, [row])[0], expected, atol=TOLERANCE, rtol=0)


def test_later_tokens_do_not_change_earlier_logits(model: Model[Any]) -> None:
    ids = random_ids(model, 1, 30)[0]
    changed = [*ids[:20], *random_ids(model, 1, 10, seed=1)[0]]
    np.testing.assert_array_equal(run(model, [ids])[:, :20], run(model, [changed])[:, :20])


@pytest.mark.parametrize("past", [0, 7])
def test_positions_that_nobody_reads_change_nothing(model: Model[Any], past: int) -> None:
    for first in (0, 1, 4, 8, -1):
        whole, part = new_cache(model, 2), new_cache(model, 2)
        if past:
            for cache in (whole, part):
                run(model, random_ids(model, 2, past, seed=1), cache)
        ids = model.ops.token_ids(random_ids(model, 2, 9))
        expected = model.ops.to_numpy(hidden_states(model, ids, whole))[:, first:]
        actual = model.ops.to_numpy(hidden_states(model, ids, part, first))
        np.testing.assert_allclose(actual, expected, atol=1e-5, rtol=0)
        following = run(model, random_ids(model, 2, 3, seed=2), whole)
        np.testing.assert_allclose(
            run(model, random_ids(model, 2, 3, seed=2), part), following, atol=1e-5, rtol=0
        )


def test_the_last_block_computes_only_what_is_read(
    model: Model[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    linear = type(model.ops).linear

    def count(self: Any, x: Any, *arguments: Any) -> Any:
        rows.append(x.shape[1])
        return linear(self, x, *arguments)

    monkeypatch.setattr(type(model.ops), "linear", count)
    hidden_states(model, model.ops.token_ids(random_ids(model, 2, 9)), first=6)
    assert rows == [9] * (4 * model.config.n_layer - 3) + [3] * 3


def test_ids_beyond_the_context_are_refused(model: Model[Any]) -> None:
    context = TINY["n_positions"]
    with pytest.raises(ValueError, match="49 positions do not fit the context of 48"):
        run(model, random_ids(model, 1, context + 1))
    cache = new_cache(model)
    run(model, random_ids(model, 1, context), cache)
    with pytest.raises(ValueError, match="49 positions do not fit the context of 48"):
        run(model, [[1]], cache)
    assert cache.length == context


def test_a_forward_pass_changes_no_weight(model: Model[Any]) -> None:
    # Tables hold theirs.
    arrays = {name: getattr(weight, "array", weight) for name, weight in model.weights.items()}
    before = {name: model.ops.to_numpy(array).copy() for name, array in arrays.items()}
    run(model, random_ids(model, 2, 48))
    for name, array in arrays.items():
        np.testing.assert_array_equal(model.ops.to_numpy(array), before[name])
