"""The decoder on each family, against transformers and against itself computed another way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backends import BACKENDS, needs_kernels
from checkpoints import load_checkpoint
from families import FAMILIES, save_family

from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.kv_cache import KVCache
from gpt2cli.model.model import Model

pytestmark = pytest.mark.slow

Array = np.ndarray[Any, np.dtype[Any]]
Checkpoint = Callable[[str], tuple[Path, Any]]
TOLERANCE = 1e-4
CONTEXT = 48


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Return a function that saves a random model of a family once and returns folder and model."""
    made: dict[str, tuple[Path, Any]] = {}

    def make(name: str) -> tuple[Path, Any]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = folder, save_family(folder, name)
        return made[name]

    return make


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def some_ids(batch: int, time: int) -> list[list[int]]:
    ids: list[list[int]] = np.random.default_rng(0).integers(0, 131, (batch, time)).tolist()
    return ids


def run(model: Model[Any], ids: list[list[int]], cache: KVCache[Any] | None = None, first: int = 0) -> Array:
    return model.ops.to_numpy(logits(model, hidden_states(model, model.ops.token_ids(ids), cache, first)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_logits_equal_those_of_transformers(
    checkpoint: Checkpoint, family: str, backend: tuple[str, str]
) -> None:
    folder, reference = checkpoint(family)
    ids = some_ids(2, CONTEXT)
    with torch.no_grad():
        expected = reference(torch.tensor(ids)).logits.numpy()
    model = load_checkpoint(folder, *backend)
    np.testing.assert_allclose(run(model, ids), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_greedy_ids_equal_those_of_transformers(
    checkpoint: Checkpoint, family: str, backend: tuple[str, str]
) -> None:
    folder, reference = checkpoint(family)
    row = some_ids(1, 3)[0]
    model = load_checkpoint(folder, *backend)
    cache = KVCache(model.config, model.ops, 1, CONTEXT)
    new = row
    for _ in range(CONTEXT - 3):
        new = [int(run(model, [new], cache, -1)[0, -1].argmax())]
        row = row + new
    with torch.no_grad():
        # Each id is the likeliest after those before it, and so all are.
        likeliest = reference(torch.tensor([row])).logits[0, 2:-1].argmax(-1)
    assert row[3:] == likeliest.tolist()


@pytest.mark.parametrize("backend", BACKENDS)
def test_cached_logits_equal_uncached_ones(
    checkpoint: Checkpoint, family: str, backend: tuple[str, str]
) -> None:
    model = load_checkpoint(checkpoint(family)[0], *backend)
    ids = some_ids(2, CONTEXT)
    whole = run(model, ids)
    for lengths in ((1, 1, 46), (7, 41), (40, 8), (30, 1, 17)):
        cache = KVCache(model.config, model.ops, 2, CONTEXT)
        start = 0
        for length in lengths:
            part = run(model, [row[start : start + length] for row in ids], cache)
            np.testing.assert_allclose(part, whole[:, start : start + length], atol=TOLERANCE, rtol=0)
            start += length


@needs_kernels
def test_a_row_has_the_same_bits_alone_and_among_others(checkpoint: Checkpoint, family: str) -> None:
    model = load_checkpoint(checkpoint(family)[0], "compiled")
    ids = some_ids(9, 21)
    together = run(model, ids)
    for number in (0, 4, 8):
        assert run(model, [ids[number]]).tobytes() == together[number : number + 1].tobytes()


def test_positions_beyond_the_context_are_refused(checkpoint: Checkpoint, family: str) -> None:
    model = load_checkpoint(checkpoint(family)[0])
    with pytest.raises(ValueError, match="49 positions do not fit the context of 48"):
        run(model, some_ids(1, CONTEXT + 1))
