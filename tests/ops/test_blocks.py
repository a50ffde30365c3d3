"""Whole blocks of other families, put together from the operations, against transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from backends import BACKENDS
from torch import Tensor, nn
from transformers import GPTNeoXConfig, GPTNeoXModel, LlamaConfig, LlamaModel

from gpt2cli.checkpoint.derived_fields import Rotary
from gpt2cli.model.rotary import RotaryTable, rotary_frequencies
from gpt2cli.ops.backend import open_backend
from gpt2cli.ops.operations import LayerCache, Ops, StoredTensor, in_batch, split_heads, split_qkv

TIME, VOCABULARY = 40, 50
# In one pass, and continued in steps.
STEPS = (TIME, 1, 7)


@pytest.fixture(scope="module", params=BACKENDS)
def ops(request: pytest.FixtureRequest) -> Ops[Any]:
    backend, device = request.param
    return open_backend(device, backend)


class Weights:
    """The weights of a module of transformers as arrays of a backend, with matrices (in, out)."""

    def __init__(self, ops: Ops[Any], module: nn.Module) -> None:
        self._ops = ops
        self._stored = {name: tensor.detach().numpy() for name, tensor in module.named_parameters()}

    def __call__(self, name: str) -> Any:
        array = self._stored[name]
        is_projection = array.ndim == 2 and "embed" not in name
        return self._ops.weight(StoredTensor("F32", array.T if is_projection else array))

    def affine(self, name: str) -> tuple[Any, Any]:
        return self(f"{name}.weight"), self(f"{name}.bias")


def cache(ops: Ops[Any], kv_heads: int, width: int) -> LayerCache[Any]:
    shape = (kv_heads, 2 * TIME, width)
    return LayerCache(ops.empty(shape), ops.empty(shape), np.empty((2, 4), np.int64))


def places(held: LayerCache[Any], start: int, end: int) -> Any:
    """Say which positions of both texts, side by side, are read next, and return their numbers."""
    held.spans = np.array([[row * TIME, start, end - start, 0] for row in range(2)])
    return np.concatenate([np.arange(start, end)] * 2)


def ids() -> Tensor:
    return torch.randint(0, VOCABULARY, (2, TIME), generator=torch.Generator().manual_seed(0))


def check_steps(ops: Ops[Any], compute: Callable[[int], list[Any]], model: Any) -> None:
    """Assert that what is computed in steps is what transformers computes, the same bits on the kernels."""
    expected = model(ids()).last_hidden_state.detach().numpy()
    found = [np.concatenate([ops.to_numpy(part) for part in compute(step)], axis=1) for step in STEPS]
    for hidden in found:
        np.testing.assert_allclose(hidden, expected, rtol=1e-4, atol=1e-4)
        if ops.name == "compiled":
            np.testing.assert_array_equal(hidden, found[0])


def randomized(module: nn.Module) -> Any:
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2 + (parameter.ndim == 1)
    return module.eval()


def test_a_block_of_llama_is_that_of_transformers(ops: Ops[Any]) -> None:
    model = randomized(
        LlamaModel(
            LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=36,
                intermediate_size=53,
                num_hidden_layers=1,
                num_attention_heads=6,
                num_key_value_heads=2,
                rms_norm_eps=1e-5,
            )
        )
    )
    weight, held = Weights(ops, model), cache(ops, 2, 6)
    table = RotaryTable(ops, rotary_frequencies(Rotary(), 6))

    def compute(step: int) -> list[Any]:
        found = []
        for start in range(0, TIME, step):
            part = ids()[:, start : start + step]
            at = places(held, start, start + part.shape[1])
            x = ops.embed(weight("embed_tokens.weight"), None, ops.token_ids([part.flatten().tolist()]), at)
            normed = ops.rms_norm(x, weight("layers.0.input_layernorm.weight"), 1e-5)
            queries, keys, values = (
                split_heads(ops.linear(normed, weight(f"layers.0.self_attn.{name}_proj.weight"), None), heads)
                for name, heads in (("q", 6), ("k", 2), ("v", 2))
            )
            queries, keys = ops.rotate(queries, keys, *table.at(at))
            attended = ops.attention(queries, keys, values, 6**-0.5, None, held)
            x = ops.linear(attended, weight("layers.0.self_attn.o_proj.weight"), None, residual=x)
            normed = ops.rms_norm(x, weight("layers.0.post_attention_layernorm.weight"), 1e-5)
            gate = ops.linear(normed, weight("layers.0.mlp.gate_proj.weight"), None, "silu")
            inner = ops.linear(normed, weight("layers.0.mlp.up_proj.weight"), None, gate=gate)
            x = ops.linear(inner, weight("layers.0.mlp.down_proj.weight"), None, residual=x)
            found.append(in_batch(ops.rms_norm(x, weight("norm.weight"), 1e-5), 2))
        return found

    check_steps(ops, compute, model)


def test_a_block_of_gpt_neox_is_that_of_transformers(ops: Ops[Any]) -> None:
    model = randomized(
        GPTNeoXModel(
            GPTNeoXConfig(
                vocab_size=VOCABULARY,
                hidden_size=60,
                intermediate_size=77,
                num_hidden_layers=1,
                num_attention_heads=3,
                rope_parameters={
                    "rope_type": "default",
                    "rope_theta": 10000.0,
                    "partial_rotary_factor": 0.5,
                },
            )
        )
    )
    weight, held = Weights(ops, model), cache(ops, 3, 20)
    table = RotaryTable(ops, rotary_frequencies(Rotary(), 10))

    def compute(step: int) -> list[Any]:
        found = []
        for start in range(0, TIME, step):
            part = ids()[:, start : start + step]
            at = places(held, start, start + part.shape[1])
            x = ops.embed(weight("embed_in.weight"), None, ops.token_ids([part.flatten().tolist()]), at)
            normed = ops.layer_norm(x, *weight.affine("layers.0.input_layernorm"), 1e-5)
            qkv = ops.linear(normed, *weight.affine("layers.0.attention.query_key_value"))
            queries, keys, values = split_qkv(qkv, 3, 3, by_head=True)
            queries, keys = ops.rotate(queries, keys, *table.at(at))
            attended = ops.attention(queries, keys, values, 20**-0.5, None, held)
            # In parallel: the MLP reads the input of the block too.
            normed = ops.layer_norm(x, *weight.affine("layers.0.post_attention_layernorm"), 1e-5)
            x = ops.linear(attended, *weight.affine("layers.0.attention.dense"), residual=x)
            inner = ops.linear(normed, *weight.affine("layers.0.mlp.dense_h_to_4h"), "gelu")
            x = ops.linear(inner, *weight.affine("layers.0.mlp.dense_4h_to_h"), residual=x)
            found.append(in_batch(ops.layer_norm(x, *weight.affine("final_layer_norm"), 1e-5), 2))
        return found

    check_steps(ops, compute, model)
