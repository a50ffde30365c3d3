"""The KV cache, without a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from backends import BACKENDS

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.model.kv_cache import KVCache
from gpt2cli.ops.backend import open_backend
from gpt2cli.ops.operations import Ops, StoredTensor

CONFIG = ModelConfig(vocab_size=7, n_positions=10, n_embd=6, n_layer=2, n_head=3)


@pytest.fixture(scope="module", params=BACKENDS)
def ops(request: pytest.FixtureRequest) -> Ops[Any]:
    backend, device = request.param
    return open_backend(device, backend)


def keys(ops: Ops[Any], batch: int, time: int, first: float = 0.0) -> Any:
    shape = (batch, CONFIG.n_head, time, CONFIG.head_width)
    numbers = np.arange(first, first + np.prod(shape), dtype=np.float32)
    return ops.weight(StoredTensor("F32", numbers.reshape(shape)))


def append(cache: KVCache[Any], layer: int, new_keys: Any, new_values: Any) -> tuple[Any, Any]:
    """Store behind what a layer has seen, as the backends do that attend to it; return all (batch, ...)."""
    batch, heads, time, width = new_keys.shape
    ops = cache._ops
    past, _ = cache.reading(batch, time, 0).past(layer, is_last=False)
    assert past
    new = [part.swapaxes(0, 1).reshape(heads, batch * time, width) for part in (new_keys, new_values)]
    held = [there for _, there, _ in past.append(*new)]

    def rows(part: Any) -> Any:
        stacked = np.stack([ops.to_numpy(part[:, there]) for there in held])
        return ops.weight(StoredTensor("F32", stacked))

    return rows(past.keys), rows(past.values)


def test_what_was_appended_comes_back_in_order(ops: Ops[Any]) -> None:
    cache = KVCache(CONFIG, ops, 2, 8)
    for time, first in ((3, 0.0), (1, 100.0), (2, 200.0)):
        for layer in range(CONFIG.n_layer):
            new = keys(ops, 2, time, first + layer)
            past_keys, past_values = append(cache, layer, new, new + 0.5)
            assert past_keys.shape[2] == cache.length + time
            np.testing.assert_array_equal(ops.to_numpy(past_keys)[:, :, cache.length :], ops.to_numpy(new))
            np.testing.assert_array_equal(ops.to_numpy(past_values), ops.to_numpy(past_keys) + 0.5)
        cache.advance(time)
    assert cache.length == 6


def test_the_length_moves_only_when_told(ops: Ops[Any]) -> None:
    cache = KVCache(CONFIG, ops, 1, 4)
    append(cache, 0, keys(ops, 1, 2), keys(ops, 1, 2))
    assert cache.length == 0


def test_an_overflow_is_refused_and_changes_nothing(ops: Ops[Any]) -> None:
    cache = KVCache(CONFIG, ops, 1, 4)
    before = ops.to_numpy(append(cache, 0, keys(ops, 1, 4), keys(ops, 1, 4))[0]).copy()
    cache.advance(3)
    with pytest.raises(ValueError, match="5 positions do not fit a cache of 4"):
        append(cache, 0, keys(ops, 1, 2, 50.0), keys(ops, 1, 2, 50.0))
    cache.length = 0
    after = ops.to_numpy(append(cache, 0, keys(ops, 1, 0), keys(ops, 1, 0))[0])
    assert after.shape[2] == 0
    assert cache.capacity == before.shape[2]


def test_a_capacity_beyond_the_context_is_refused(ops: Ops[Any]) -> None:
    with pytest.raises(ValueError, match="capacity 11 exceeds the context of 10"):
        KVCache(CONFIG, ops, 1, 11)


def test_selected_rows_are_copies_in_the_given_order(ops: Ops[Any]) -> None:
    cache = KVCache(CONFIG, ops, 3, 8)
    new = keys(ops, 3, 2)
    for layer in range(CONFIG.n_layer):
        append(cache, layer, new, new)
    cache.advance(2)
    chosen = cache.select([2, 0, 2, 1])
    assert (chosen.length, chosen.capacity) == (2, 8)
    for layer in range(CONFIG.n_layer):
        after, _ = append(chosen, layer, keys(ops, 4, 1, 900.0), keys(ops, 4, 1, 900.0))
        np.testing.assert_array_equal(ops.to_numpy(after)[:, :, :2], ops.to_numpy(new)[[2, 0, 2, 1]])
    chosen.advance(1)
    assert cache.length == 2
    untouched, _ = append(cache, 0, keys(ops, 3, 1), keys(ops, 3, 1))
    np.testing.assert_array_equal(ops.to_numpy(untouched)[:, :, :2], ops.to_numpy(new))


@pytest.mark.parametrize("kept", [0, 2, 5])
def test_a_truncated_cache_is_one_that_never_saw_more(ops: Ops[Any], kept: int) -> None:
    cut, fresh = KVCache(CONFIG, ops, 1, 8), KVCache(CONFIG, ops, 1, 8)
    first, second, third = keys(ops, 1, kept), keys(ops, 1, 5 - kept, 300.0), keys(ops, 1, 3, 600.0)
    for cache, parts in ((cut, (first, second)), (fresh, (first,))):
        for part in parts:
            for layer in range(CONFIG.n_layer):
                append(cache, layer, part, part)
            cache.advance(part.shape[2])
    cut.truncate(kept)
    assert cut.length == fresh.length == kept
    for layer in range(CONFIG.n_layer):
        for after, expected in zip(
            append(cut, layer, third, third), append(fresh, layer, third, third), strict=True
        ):
            np.testing.assert_array_equal(ops.to_numpy(after), ops.to_numpy(expected))


def test_truncated_positions_can_be_counted_again_until_they_are_overwritten(ops: Ops[Any]) -> None:
    cache = KVCache(CONFIG, ops, 1, 8)
    new = keys(ops, 1, 4)
    for layer in range(CONFIG.n_layer):
        append(cache, layer, new, new)
    cache.advance(4)
    cache.truncate(1)
    cache.advance(2)
    after, _ = append(cache, 0, keys(ops, 1, 1, 900.0), keys(ops, 1, 1, 900.0))
    np.testing.assert_array_equal(ops.to_numpy(after)[:, :, :3], ops.to_numpy(new)[:, :, :3])


@pytest.mark.parametrize("length", [-1, 3])
def test_a_cache_is_not_truncated_to_what_it_does_not_hold(ops: Ops[Any], length: int) -> None:
    cache = KVCache(CONFIG, ops, 1, 8)
    cache.advance(2)
    with pytest.raises(ValueError, match=f"cannot truncate a cache of 2 positions to {length}"):
        cache.truncate(length)
