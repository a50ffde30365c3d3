"""The memory for keys and values, without a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from backends import BACKENDS
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.model.kv_memory import KVMemory, position_bytes
from gpt2cli.ops.backend import open_backend

CONFIG = ModelConfig(vocab_size=7, n_positions=64, n_embd=6, n_layer=2, n_head=3)
POSITIONS = 50


@given(st.lists(st.tuples(st.integers(1, 20), st.booleans()), max_size=60))
def test_claims_never_overlap_and_all_that_is_freed_can_be_claimed_again(
    calls: list[tuple[int, bool]],
) -> None:
    memory: KVMemory[Any] = KVMemory(CONFIG, open_backend("cpu", "numpy"), POSITIONS)
    claimed: dict[int, int] = {}
    for count, frees in calls:
        if frees and claimed:
            freed = sorted(claimed)[count % len(claimed)]
            memory.free(freed, claimed.pop(freed))
        begin = memory.claim(count)
        taken = {place for first, size in claimed.items() for place in range(first, first + size)}
        if begin is None:
            # There is no room between the claims.
            assert not any(
                taken.isdisjoint(range(place, place + count)) for place in range(POSITIONS - count + 1)
            )
        else:
            assert taken.isdisjoint(range(begin, begin + count))
            assert 0 <= begin <= POSITIONS - count
            claimed[begin] = count
        assert memory.free_positions == POSITIONS - sum(claimed.values())
    for first, count in claimed.items():
        memory.free(first, count)
    assert memory.claim(POSITIONS) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_copied_positions_are_those_of_the_source_in_every_layer(backend: tuple[str, str]) -> None:
    ops = open_backend(backend[1], backend[0])
    memory: KVMemory[Any] = KVMemory(CONFIG, ops, POSITIONS)
    memory._held[...] = 0.0
    memory._held[:, :, :, 5:9] = 7.0
    memory.copy(memory, 5, 30, 3)
    held = ops.to_numpy(memory._held)
    assert (held[:, :, :, 30:33] == 7.0).all()
    assert np.count_nonzero(held) == held[:, :, :, :7].size
    assert position_bytes(CONFIG, ops) == held[:, :, :, :1].nbytes
