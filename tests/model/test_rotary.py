"""Rotary positions against transformers: frequencies with their scalings, tables, and rotated heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from backends import BACKENDS
from tensors import own, random
from torch import Tensor
from transformers import GPTNeoXConfig, LlamaConfig
from transformers.models.gpt_neox import modeling_gpt_neox as gpt_neox
from transformers.models.gptj import modeling_gptj as gptj
from transformers.models.llama import modeling_llama as llama

from gpt2cli.checkpoint.derived_fields import Rotary, rotary
from gpt2cli.model.rotary import BLOCK, RotaryTable, rotary_frequencies
from gpt2cli.ops.backend import open_backend
from gpt2cli.ops.operations import Ops, split_heads, split_qkv

POSITIONS = 3 * BLOCK + 5
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
}
# Base, width of a head, and the scaling as config.json has it.
LLAMAS: dict[str, tuple[float, int, dict[str, Any]]] = {
    "LLaMA": (10000.0, 64, {"rope_type": "default"}),
    "SmolLM2": (100000.0, 64, {"rope_type": "default"}),
    "wide heads": (500000.0, 128, {"rope_type": "default"}),
    "linear": (10000.0, 32, {"rope_type": "linear", "factor": 3.0}),
    "LLaMA 3": (500000.0, 64, LLAMA3),
}


@pytest.fixture(scope="module", params=BACKENDS)
def ops(request: pytest.FixtureRequest) -> Ops[Any]:
    backend, device = request.param
    return open_backend(device, backend)


def check(ops: Ops[Any], actual: Any, expected: Tensor, tolerance: float) -> None:
    np.testing.assert_allclose(ops.to_numpy(actual), expected.numpy(), rtol=0, atol=tolerance)


def check_tables(ops: Ops[Any], embedding: torch.nn.Module, frequencies: Any) -> None:
    """Assert that a table is that of a model of transformers, which has each angle twice."""
    cosines, sines = embedding(torch.zeros(1), torch.arange(POSITIONS)[None])
    found = RotaryTable(ops, frequencies).at(slice(0, POSITIONS))
    for part, expected in zip(found, (cosines, sines), strict=True):
        check(ops, part, expected[0, :, : len(frequencies)], 1e-6)


@pytest.mark.parametrize("name", LLAMAS)
def test_tables_are_those_of_llama_with_each_scaling(ops: Ops[Any], name: str) -> None:
    base, width, parameters = LLAMAS[name]
    rope = parameters | {"rope_theta": base}
    config = LlamaConfig(
        hidden_size=width, num_attention_heads=1, max_position_embeddings=4096, rope_parameters=rope
    )
    frequencies = rotary_frequencies(rotary({"rope_parameters": rope}), width)
    check_tables(ops, llama.LlamaRotaryEmbedding(config), frequencies)


@pytest.mark.parametrize(("width", "fraction"), [(64, 0.25), (32, 0.5), (80, 1.0)])
def test_tables_are_those_of_gpt_neox_for_a_fraction(ops: Ops[Any], width: int, fraction: float) -> None:
    config = GPTNeoXConfig(
        hidden_size=width,
        num_attention_heads=1,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": fraction},
    )
    frequencies = rotary_frequencies(Rotary(fraction), width)
    check_tables(ops, gpt_neox.GPTNeoXRotaryEmbedding(config), frequencies)


def test_every_scaling_changes_the_frequencies_it_should() -> None:
    plain = rotary_frequencies(Rotary(base=500000.0), 64)
    scaled = rotary_frequencies(Rotary(1.0, 500000.0, "llama3", 8.0, 1.0, 4.0, 8192), 64)
    turns = 8192 * plain / (2 * np.pi)
    np.testing.assert_array_equal(scaled[turns > 4], plain[turns > 4])
    np.testing.assert_array_equal(scaled[turns < 1], plain[turns < 1] / 8)
    between = (turns > 1) & (turns < 4)
    assert between.any()
    assert (scaled[between] < plain[between]).all()
    assert (scaled[between] > plain[between] / 8).all()


def test_a_table_that_grows_has_the_numbers_of_one_made_at_once(ops: Ops[Any]) -> None:
    frequencies = rotary_frequencies(Rotary(), 20)
    grown, at_once = RotaryTable(ops, frequencies), RotaryTable(ops, frequencies)
    expected = [ops.to_numpy(part) for part in at_once.at(slice(0, POSITIONS))]
    for start, end in ((0, 1), (1, 5), (5, BLOCK), (BLOCK - 1, BLOCK + 1), (2 * BLOCK, POSITIONS), (0, 9)):
        for part, whole in zip(grown.at(slice(start, end)), expected, strict=True):
            np.testing.assert_array_equal(ops.to_numpy(part), whole[start:end])
    places = np.array([BLOCK, 3, 3, 2 * BLOCK + 1])
    for part, whole in zip(RotaryTable(ops, frequencies).at(places), expected, strict=True):
        np.testing.assert_array_equal(ops.to_numpy(part), whole[places])


@pytest.mark.parametrize("rotated", [2, 6, 20])
def test_heads_are_rotated_as_in_gpt_neox_and_llama(ops: Ops[Any], rotated: int) -> None:
    for time, heads, kv_heads in ((1, 1, 1), (5, 4, 2), (70, 9, 3)):
        qkv = random(2, time, (heads + 2 * kv_heads) * 20)
        cosines, sines = RotaryTable(ops, rotary_frequencies(Rotary(), rotated)).at(slice(3, 3 + time))
        twice = [torch.from_numpy(ops.to_numpy(part)).repeat(1, 2)[None] for part in (cosines, sines)]
        queries, keys, values = (part.transpose(1, 2) for part in split_qkv(qkv, heads, kv_heads))
        expected = gpt_neox.apply_rotary_pos_emb(queries, keys, *(part[:, :] for part in twice))
        views = split_qkv(own(ops, qkv), heads, kv_heads)
        found = ops.rotate(views[0], views[1], cosines, sines)
        for part, whole in zip(found, expected, strict=True):
            check(ops, part, whole.transpose(1, 2), 1e-6)
        # Its values are as they were.
        check(ops, views[2], values.transpose(1, 2), 0)
        if rotated == 20:
            for part, whole in zip(found, llama.apply_rotary_pos_emb(queries, keys, *twice), strict=True):
                check(ops, part, whole.transpose(1, 2), 1e-6)


@pytest.mark.parametrize("rotated", [2, 6, 20])
def test_neighbours_are_rotated_as_in_gpt_j(ops: Ops[Any], rotated: int) -> None:
    queries, keys = random(2, 5, 4 * 20), random(2, 5, 4 * 20, seed=1)
    cosines, sines = RotaryTable(ops, rotary_frequencies(Rotary(), rotated)).at(slice(0, 5))
    table = gptj.create_sinusoidal_positions(5, rotated)
    check(ops, sines, table[:, : rotated // 2], 1e-6)
    check(ops, cosines, table[:, rotated // 2 :], 1e-6)
    heads = [split_heads(own(ops, part), 4) for part in (queries, keys)]
    found = ops.rotate(heads[0], heads[1], cosines, sines, neighbours=True)
    for part, plain in zip(found, (queries, keys), strict=True):
        split = split_heads(plain, 4)
        turned = gptj.apply_rotary_pos_emb(
            split[..., :rotated], table[None, :, : rotated // 2], table[None, :, rotated // 2 :]
        )
        check(ops, part, torch.cat((turned, split[..., rotated:]), -1), 1e-6)


def test_gradients_flow_through_a_rotation() -> None:
    ops = open_backend("cpu", "torch")
    cosines, sines = RotaryTable(ops, rotary_frequencies(Rotary(), 6)).at(slice(0, 5))
    twice = [torch.cat((part, part), -1)[None] for part in (cosines, sines)]
    queries, keys = (random(2, 5, 3, 8, seed=seed).requires_grad_() for seed in (1, 2))
    weights = random(2, 5, 3, 8, seed=3)
    for neighbours in (False, True):
        own_gradients = torch.autograd.grad(
            sum((part * weights).sum() for part in ops.rotate(queries, keys, cosines, sines, neighbours)),
            (queries, keys),
        )
        if neighbours:
            # A rotation keeps lengths, and so does its gradient.
            assert torch.allclose(own_gradients[0].norm(dim=-1), weights.norm(dim=-1), atol=1e-5)
            continue
        turned = gpt_neox.apply_rotary_pos_emb(queries.transpose(1, 2), keys.transpose(1, 2), *twice)
        expected = torch.autograd.grad(
            sum((part.transpose(1, 2) * weights).sum() for part in turned), (queries, keys)
        )
        torch.testing.assert_close(own_gradients, expected)
