"""The operations of each backend, one by one, against PyTorch's own and transformers'."""

from __future__ import annotations

import itertools
import resource
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from backends import BACKENDS
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors import check, own, random
from torch import Tensor
from transformers import LlamaConfig
from transformers.activations import ACT2CLS, ACT2FN
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from gpt2cli.checkpoint.config import ACTIVATION_FUNCTIONS
from gpt2cli.ops.backend import open_backend
from gpt2cli.ops.device.activations import ACTIVATIONS as TORCH_ACTIVATIONS
from gpt2cli.ops.numpy_activations import ACTIVATIONS as NUMPY_ACTIVATIONS
from gpt2cli.ops.numpy_ops import NumpyOps
from gpt2cli.ops.operations import Ops, StoredTensor, split_qkv
from gpt2cli.ops.threads import WORTH_SHARING

WITH_WEIGHTS = {"prelu", "xielu"}


@pytest.fixture(scope="module", params=BACKENDS)
def ops(request: pytest.FixtureRequest) -> Ops[Any]:
    backend, device = request.param
    return open_backend(device, backend)


def test_every_activation_of_transformers_is_covered_or_has_weights() -> None:
    assert set(ACT2CLS) - WITH_WEIGHTS == set(ACTIVATION_FUNCTIONS)
    for table in (NUMPY_ACTIVATIONS, TORCH_ACTIVATIONS):
        assert set(table) == set(ACTIVATION_FUNCTIONS)


def test_an_activation_equals_that_of_transformers(ops: Ops[Any]) -> None:
    extremes = torch.tensor([-1e4, -100.0, -11.0, -6.0, -3.0, 0.0, 3.0, 6.0, 11.0, 100.0, 1e4])
    x = torch.cat([torch.linspace(-9, 9, 4001), extremes])
    one, nothing = own(ops, torch.ones(1, 1)), own(ops, torch.zeros(1))
    residual = random(len(x), 1)
    for name in ACTIVATION_FUNCTIONS:
        activated = ops.linear(own(ops, x[:, None]), one, nothing, activation=name)
        check(ops, activated, ACT2FN[name](x)[:, None], 2e-6, name)
        added = ops.linear(own(ops, x[:, None]), one, nothing, name, own(ops, residual))
        np.testing.assert_array_equal(ops.to_numpy(added), ops.to_numpy(activated) + residual.numpy(), name)
        gated = ops.linear(own(ops, x[:, None]), one, None, name, gate=own(ops, residual))
        np.testing.assert_array_equal(ops.to_numpy(gated), ops.to_numpy(activated) * residual.numpy(), name)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_a_weight_multiplies_as_it_is_stored(ops: Ops[Any], dtype: str) -> None:
    convert, as_array = STORED[dtype]
    stored, bias = convert(random(33, 20)), random(33, seed=2)
    array = as_array(stored).T
    weight = ops.weight(StoredTensor(dtype, array))
    if ops.name == "compiled":
        assert weight is array
    for rows, activation in itertools.product((1, 4, 60), (None, "gelu_new", "tanh")):
        x = random(rows, 20, seed=1)
        found = ops.linear(own(ops, x), weight, own(ops, bias), activation)
        expected = x.double() @ stored.double().T + bias
        check(ops, found, ACT2FN[activation or "linear"](expected).float(), 2e-5, (rows, activation))


def test_a_gated_mlp_is_that_of_transformers(ops: Ops[Any]) -> None:
    torch.manual_seed(0)
    mlp = LlamaMLP(LlamaConfig(hidden_size=20, intermediate_size=33, num_attention_heads=1))
    x = random(2, 5, 20)
    gate_weight, up, down = (
        own(ops, layer.weight.detach().T.contiguous())
        for layer in (mlp.gate_proj, mlp.up_proj, mlp.down_proj)
    )
    gate = ops.linear(own(ops, x), gate_weight, None, "silu")
    inner = ops.linear(own(ops, x), up, None, gate=gate)
    check(ops, ops.linear(inner, down, None), mlp(x).detach(), 1e-6)


def test_an_rms_norm_is_that_of_transformers(ops: Ops[Any]) -> None:
    for width in (1, 20, 33):
        norm = LlamaRMSNorm(width, eps=1e-6)
        norm.weight.data = random(width, seed=1)
        x = random(2, 3, width) * 30
        given_x = own(ops, x)
        found = ops.rms_norm(given_x, own(ops, norm.weight.detach()), 1e-6)
        check(ops, found, norm(x).detach(), 1e-6)
        check(ops, given_x, x, 0)


def test_tokens_without_learned_positions_are_embedded_alone(ops: Ops[Any]) -> None:
    tokens, ids = random(7, 5), [[3, 0, 6], [1, 1, 2]]
    check(
        ops, ops.embed(own(ops, tokens), None, ops.token_ids(ids), slice(4, 7)), tokens[torch.tensor(ids)], 0
    )


def test_a_layer_norm_may_have_no_bias(ops: Ops[Any]) -> None:
    x, weight = random(2, 3, 8), random(8, seed=1)
    expected = torch.nn.functional.layer_norm(x, (8,), weight, None, 1e-5)
    check(ops, ops.layer_norm(own(ops, x), own(ops, weight), None, 1e-5), expected, 2e-6)


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_a_layer_norm_equals_that_of_torch(batch: int, time: int, width: int, seed: int) -> None:
    x, weight, bias = random(batch, time, width, seed=seed) * 50 + 7, random(width), random(width, seed=1)
    expected = torch.nn.functional.layer_norm(x, (width,), weight, bias, 1e-5)
    numpy_ops = open_backend("cpu", "numpy")
    check(numpy_ops, numpy_ops.layer_norm(x.numpy(), weight.numpy(), bias.numpy(), 1e-5), expected, 2e-4)


def test_a_layer_norm_leaves_its_input_alone(ops: Ops[Any]) -> None:
    x = random(2, 3, 8)
    given_x = own(ops, x)
    ops.layer_norm(given_x, own(ops, random(8)), own(ops, random(8)), 1e-5)
    check(ops, given_x, x, 0)


STORED: Mapping[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Any]]] = {
    "F64": (Tensor.double, Tensor.numpy),
    "F32": (Tensor.float, Tensor.numpy),
    "F16": (Tensor.half, Tensor.numpy),
    "BF16": (Tensor.bfloat16, lambda x: x.view(torch.uint16).numpy()),
}


@pytest.mark.parametrize("dtype", STORED)
def test_a_weight_of_any_stored_type_keeps_its_numbers(ops: Ops[Any], dtype: str) -> None:
    convert, as_array = STORED[dtype]
    tensor = convert(random(5, 3))
    check(ops, ops.weight(StoredTensor(dtype, as_array(tensor))), tensor.float(), 0)


@pytest.mark.parametrize("vocabulary", [2, 15, 16, 17, 257, 1000])
def test_what_logits_tell_of_a_token_is_that_of_their_distribution(ops: Ops[Any], vocabulary: int) -> None:
    scores = random(19, vocabulary) * 4
    # A row of equals, one with an impossible token, and one that is all but certain.
    scores[1] = 0.5
    scores[2, 0] = -torch.inf
    scores[3, 1] = 300.0
    targets = torch.randint(1, vocabulary, (19,), generator=torch.Generator().manual_seed(1))
    starts = random(vocabulary, seed=2) > 0
    starts[0] = True
    found = ops.token_statistics(own(ops, scores), targets.numpy(), starts.float().numpy())
    logprobs = scores.double().log_softmax(-1)
    chosen = logprobs.gather(1, targets[:, None])
    np.testing.assert_allclose(found[0], chosen[:, 0], rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(found[1], torch.special.entr(logprobs.exp()).sum(-1), rtol=1e-5, atol=2e-6)
    np.testing.assert_array_equal(found[2], 1 + (logprobs > chosen).sum(-1))
    likely = (logprobs.exp() @ starts.double()).log().clamp(min=np.log(np.finfo(np.float32).tiny))
    np.testing.assert_allclose(found[3], likely, rtol=1e-5, atol=2e-6)
    assert (found[[0, 3]] <= 0).all()
    assert (found[1] >= 0).all()
    unasked = ops.token_statistics(own(ops, scores), targets.numpy(), None)
    assert np.isnan(unasked[3]).all()
    np.testing.assert_array_equal(unasked[:3], found[:3])


def test_logits_that_are_not_numbers_tell_nothing(ops: Ops[Any]) -> None:
    for special in (torch.nan, torch.inf):
        for place in (0, 20, 39):
            scores = random(3, 40)
            scores[1, place] = special
            found = ops.token_statistics(own(ops, scores), np.array([0, 1, 39]), None)
            assert np.isnan(found[0]).tolist() == [False, True, False]


def test_positions_are_selected_by_range_and_by_number(ops: Ops[Any]) -> None:
    x = random(2, 5, 3)
    check(ops, ops.select(own(ops, x), slice(1, 4)), x[:, 1:4], 0)
    check(ops, ops.select(own(ops, x), np.array([4, 0, 4])), x[:, [4, 0, 4]], 0)


def test_unused_memory_is_not_taken() -> None:
    for ops in (open_backend("cpu", "numpy"), open_backend("cpu", "torch")):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        held = ops.empty((1 << 20, 300))
        held[5:9] = 1.0
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_ragged_batch_is_refused(ops: Ops[Any]) -> None:
    with pytest.raises(ValueError, match=r"inhomogeneous|expected sequence"):
        ops.token_ids([[1, 2], [3]])


@pytest.mark.parametrize("threads", [2, 3])
def test_a_product_in_shares_is_the_product(threads: int) -> None:
    product = NumpyOps(threads).product
    rows, matrix = random(9, 400).numpy(), random(401, 400, seed=1).numpy()
    assert rows.shape[0] * matrix.size > WORTH_SHARING
    np.testing.assert_allclose(product(rows, matrix.T), rows @ matrix.T, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(product(rows[:, :3], matrix.T[:3]), rows[:, :3] @ matrix.T[:3])
    with pytest.raises(ValueError, match="mismatch"):
        product(rows[:, 1:], matrix.T)
    np.testing.assert_allclose(product(rows, matrix.T), rows @ matrix.T, rtol=1e-5, atol=1e-4)
    assert product(rows[:0], matrix.T).shape == (0, 401)


@pytest.mark.parametrize("heads", [1, 5])
def test_attention_in_shares_is_attention(heads: int) -> None:
    qkv = random(2, 150, 3 * 8 * heads).numpy()
    alone, shared = NumpyOps(1), NumpyOps(3)
    assert heads == 1 or len(shared.work.ranges(heads, qkv[..., : 8 * heads].size * 150)) == 5
    parts = split_qkv(qkv, heads, heads)
    expected = alone.attention(*parts, 0.3)
    np.testing.assert_allclose(shared.attention(*parts, 0.3), expected, rtol=1e-5, atol=1e-6)
