"""Attention on each backend: the past, windows and shared keys, against PyTorch and transformers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from backends import BACKENDS
from tensors import check, own, random
from torch import Tensor
from transformers import GPTNeoConfig
from transformers.masking_utils import causal_mask_function, sliding_window_causal_mask_function
from transformers.models.gpt_neo.modeling_gpt_neo import GPTNeoSelfAttention
from transformers.models.llama.modeling_llama import repeat_kv

from gpt2cli.ops.backend import open_backend
from gpt2cli.ops.numpy_ops import QUERIES_AT_ONCE
from gpt2cli.ops.operations import LayerCache, Ops, split_heads, split_qkv
from gpt2cli.ops.torch_ops import TorchOps


@pytest.fixture(scope="module", params=BACKENDS)
def ops(request: pytest.FixtureRequest) -> Ops[Any]:
    backend, device = request.param
    return open_backend(device, backend)


def expected_attention(qkv: Tensor, heads: int, kv_heads: int, scale: float, window: int | None) -> Tensor:
    """Return the attention of queries, keys and values by transformers' mask and repetition of heads."""
    batch, time, _ = qkv.shape
    parts = split_qkv(qkv, heads, kv_heads)
    queries, keys, values = (part.transpose(1, 2) for part in parts)
    keys, values = repeat_kv(keys, heads // kv_heads), repeat_kv(values, heads // kv_heads)
    sees = causal_mask_function if window is None else sliding_window_causal_mask_function(window)
    row, column = torch.arange(time)[:, None], torch.arange(time)[None]
    scores = (scale * queries @ keys.transpose(-1, -2)).masked_fill(~sees(0, 0, row, column), -torch.inf)
    attended: Tensor = (scores.softmax(-1) @ values).transpose(1, 2).reshape(batch, time, -1)
    return attended


@pytest.mark.slow
@pytest.mark.parametrize("heads", [(3, 3), (4, 2), (5, 1)])
@pytest.mark.parametrize("window", [None, 1, 7, 1000])
def test_attention_is_causal_with_and_without_a_past(
    ops: Ops[Any], window: int | None, heads: tuple[int, int]
) -> None:
    count, kv_count = heads
    times = (1, 2, QUERIES_AT_ONCE, QUERIES_AT_ONCE + 1, 2 * QUERIES_AT_ONCE + 3)
    for time, past in itertools.product(times, (0, 1, 5)):
        qkv = random(2, past + time, (count + 2 * kv_count) * 4)
        expected = expected_attention(qkv, count, kv_count, 0.3, window)
        # The rows lie side by side, and in the cache in another order.
        begins = np.array([300, 0])
        held = LayerCache(own(ops, random(kv_count, 600, 4)), own(ops, random(kv_count, 600, 4)), begins)

        def rows(
            first: int, end: int, skipped: int, qkv: Tensor = qkv, held: Any = held, begins: Any = begins
        ) -> tuple[Any, Any, Any]:
            held.spans = np.array([[begin, first, end - first, skipped] for begin in begins])
            return split_qkv(own(ops, qkv[:, first:end].reshape(1, 2 * (end - first), -1)), *heads)

        def in_rows(part: Tensor) -> Tensor:
            return part.reshape(1, -1, part.shape[-1])

        if past:
            check(ops, ops.attention(*rows(0, past, 0), 0.3, window, held), in_rows(expected[:, :past]))
        end = past + time
        check(ops, ops.attention(*rows(past, end, 0), 0.3, window, held), in_rows(expected[:, past:]))
        last = ops.attention(*rows(past, end, time - 1), 0.3, window, held)
        check(ops, last, in_rows(expected[:, -1:]))
        whole = split_qkv(own(ops, qkv), *heads)
        check(ops, ops.attention(*whole, 0.3, window, None, past), expected[:, past:])
        for cache, part in zip((held.keys, held.values), split_qkv(qkv, *heads)[1:], strict=True):
            for begin, row in zip(begins, part, strict=True):
                check(ops, cache[:, begin : begin + end], row.transpose(0, 1), 0)


@pytest.mark.parametrize("heads", [(3, 3), (4, 2)])
@pytest.mark.parametrize("window", [None, 5])
def test_rows_of_different_lengths_attend_each_to_its_own(
    ops: Ops[Any], window: int | None, heads: tuple[int, int]
) -> None:
    count, kv_count = heads
    # (past, new, skipped): one token, a chunk in the middle, none that is asked for, a prompt, none at all.
    shapes = [(17, 1, 0), (3, 40, 0), (9, 4, 4), (0, 33, 32), (5, 0, 0), (0, 1, 0), (2, 3, 1)]
    parts = [random(1, past + new, (count + 2 * kv_count) * 4, seed=new) for past, new, _ in shapes]
    held = LayerCache(
        own(ops, random(kv_count, 500, 4)), own(ops, random(kv_count, 500, 4)), np.empty((0, 4), int)
    )
    begins = [60 * row for row in (4, 1, 6, 0, 2, 5, 3)]
    for begin, part, (past, _, _) in zip(begins, parts, shapes, strict=True):
        if past:
            held.spans = np.array([[begin, 0, past, 0]])
            ops.attention(*split_qkv(own(ops, part[:, :past]), *heads), 0.3, window, held)
    held.spans = np.array([[begin, *shape] for begin, shape in zip(begins, shapes, strict=True)])
    new = torch.cat([part[:, past:] for part, (past, _, _) in zip(parts, shapes, strict=True)], dim=1)
    expected = [
        expected_attention(part, count, kv_count, 0.3, window)[:, past + skipped :]
        for part, (past, _, skipped) in zip(parts, shapes, strict=True)
    ]
    found = ops.attention(*split_qkv(own(ops, new), *heads), 0.3, window, held)
    check(ops, found, torch.cat(expected, dim=1))


@pytest.mark.parametrize("window", [1, 4, 6, 9])
def test_local_attention_is_that_of_gpt_neo(ops: Ops[Any], window: int) -> None:
    config = GPTNeoConfig(
        hidden_size=20,
        num_heads=2,
        num_layers=2,
        attention_types=[[["global", "local"], 1]],
        window_size=window,
        max_position_embeddings=12,
    )
    module = GPTNeoSelfAttention(config, "local", layer_id=1)
    for layer in (module.q_proj, module.k_proj, module.v_proj, module.out_proj):
        layer.weight.data = torch.eye(20)
    module.out_proj.bias.data.zero_()
    x = random(2, 9, 20)
    queries, keys, values = (split_heads(own(ops, x), 2) for _ in range(3))
    check(ops, ops.attention(queries, keys, values, 1.0, window), module(x)[0].detach())


def test_heads_are_split_as_projections_have_them() -> None:
    # Numbers that say which head and which of its parts they are.
    fused = torch.tensor([[10 * part + head for part in range(3) for head in range(4)]])[None]
    by_head = torch.tensor([[10 * part + head for head in range(4) for part in range(3)]])[None]
    grouped = torch.tensor([[0, 1, 2, 3, 10, 11, 20, 21]])[None]
    for array in (fused, fused.numpy()):
        for part, heads in enumerate(split_qkv(array, 4, 4)):
            assert heads[0, 0, :, 0].tolist() == [10 * part + head for head in range(4)]
    for part, heads in enumerate(split_qkv(by_head, 4, 4, by_head=True)):
        assert heads[0, 0, :, 0].tolist() == [10 * part + head for head in range(4)]
    for part, heads in enumerate(split_qkv(grouped, 4, 2)):
        assert heads[0, 0, :, 0].tolist() == [10 * part + head for head in range(4 if part == 0 else 2)]
    array = np.zeros((2, 3, 8), np.float32)
    assert split_heads(array, 4).shape == (2, 3, 4, 2)
    assert np.shares_memory(split_heads(array, 4), array)


def test_attention_survives_scores_that_overflow_exp(ops: Ops[Any]) -> None:
    attended = ops.to_numpy(ops.attention(*split_qkv(own(ops, 100 * random(1, 3, 12)), 1, 1), 1.0))
    assert np.isfinite(attended).all()


@pytest.mark.parametrize("window", [None, 3])
def test_gradients_flow_to_shared_keys_within_the_window(window: int | None) -> None:
    ops = TorchOps()
    qkv = random(2, 7, 8 * 4).requires_grad_()
    weights = random(2, 7, 16, seed=1)
    (found,) = torch.autograd.grad((ops.attention(*split_qkv(qkv, 4, 2), 0.3, window) * weights).sum(), qkv)
    (expected,) = torch.autograd.grad((expected_attention(qkv, 4, 2, 0.3, window) * weights).sum(), qkv)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
