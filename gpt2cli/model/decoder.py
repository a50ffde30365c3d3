"""The forward pass of the GPT family, written once for every family and every backend.

The blocks are those of Vaswani et al., "Attention Is All You Need" (2017). What a family changes of them are
facts of its row in `checkpoint/architectures.py`, where its paper is named.
"""

from __future__ import annotations

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.model.kv_cache import Cache, Reading, uncached
from gpt2cli.model.model import Model
from gpt2cli.model.parts import Affine, Layer
from gpt2cli.ops.operations import A, in_batch, split_heads, split_qkv


def hidden_states(model: Model[A], ids: A, cache: Cache[A] | None = None, first: int = 0) -> A:
    """Return the output of the last block, normalized, (batch, outputs, width), for ids (batch, time).

    With a cache, the ids continue its positions and are added to it. The last block skips the outputs
    before position `first` of the ids; -1 computes only the last output.

    Raises:
        ValueError: the ids exceed the model's context or the cache's capacity.
    """
    config, parts, ops, (batch, time) = model.config, model.parts, model.ops, ids.shape
    reading: Reading[A] = cache.reading(batch, time, first) if cache else uncached(time, first)
    if reading.end > config.n_positions:
        raise ValueError(f"{reading.end} positions do not fit the context of {config.n_positions}")
    tokens, positions = parts.token_embedding, parts.position_embedding
    places = reading.shifted(config.architecture.position_offset)
    x = ops.embed(tokens, positions, in_batch(ids, 1) if cache else ids, places)
    for number in range(config.n_layer):
        x = _block(model, number, x, reading)
    if cache:
        cache.advance(time)
        x = in_batch(x, batch)
    return _norm(model, parts.final_norm, x) if parts.final_norm else x


def logits(model: Model[A], hidden: A, top: int | None = None) -> A:
    """Return the unnormalized log-probabilities (batch, time, vocabulary) of the next tokens.

    With `top`, only the `top` highest logits at each position are certain; others may be minus infinity.
    """
    return model.ops.head(hidden, model.parts.head, top)


def _block(model: Model[A], number: int, x: A, reading: Reading[A]) -> A:
    config, layer, facts = model.config, model.parts.layers[number], model.config.architecture
    normed = x if facts.norm_after else _norm(model, layer.attention_norm, x)
    attended = _attend(model, number, normed, reading)
    if number == config.n_layer - 1:
        x = model.ops.select(x, reading.outputs)
    if config.parallel_residual:
        between = _linear(model, layer.attention_output, attended, residual=x)
        return _mlp(model, layer, _norm(model, layer.mlp_norm, x), residual=between)
    x = _linear(model, layer.attention_output, attended, residual=x)
    if facts.norm_after:
        x = _norm(model, layer.attention_norm, x)
        return _norm(model, layer.mlp_norm, _mlp(model, layer, x, residual=x))
    return _mlp(model, layer, _norm(model, layer.mlp_norm, x), residual=x)


def _attend(model: Model[A], number: int, x: A, reading: Reading[A]) -> A:
    config, ops = model.config, model.ops
    queries, keys, values = _queries_keys_values(model, model.parts.layers[number], x)
    if model.rotary:
        queries, keys = ops.rotate(queries, keys, *model.rotary.at(reading.places))
    scale, window = _attention_scale(config, number), config.windows[number] if config.windows else None
    past, first = reading.past(number, number == config.n_layer - 1)
    return ops.attention(queries, keys, values, scale, window, past, first)


def _queries_keys_values(model: Model[A], layer: Layer[A], x: A) -> tuple[A, A, A]:
    config = model.config
    if layer.attention_qkv:
        fused = _linear(model, layer.attention_qkv, x)
        return split_qkv(fused, config.n_head, config.kv_heads, config.architecture.fused_by_head)
    separate = (layer.attention_q, layer.attention_k, layer.attention_v)
    queries, keys, values = (_linear(model, part, x) for part in separate if part)
    return (
        split_heads(queries, config.n_head),
        split_heads(keys, config.kv_heads),
        split_heads(values, config.kv_heads),
    )


def _mlp(model: Model[A], layer: Layer[A], x: A, residual: A) -> A:
    activation = model.config.activation_function
    if layer.mlp_gate:
        gate = _linear(model, layer.mlp_gate, x, activation)
        inner = _linear(model, layer.mlp_in, x, gate=gate)
    else:
        inner = _linear(model, layer.mlp_in, x, activation)
    return _linear(model, layer.mlp_out, inner, residual=residual)


def _attention_scale(config: ModelConfig, number: int) -> float:
    scale = config.head_width**-0.5 if config.scale_attn_weights else 1.0
    return scale / (number + 1) if config.scale_attn_by_inverse_layer_idx else scale


def _norm(model: Model[A], norm: Affine[A], x: A) -> A:
    epsilon = model.config.layer_norm_epsilon
    if model.config.architecture.norm == "rms":
        return model.ops.rms_norm(x, norm.weight, epsilon)
    return model.ops.layer_norm(x, norm.weight, norm.bias, epsilon)


def _linear(
    model: Model[A],
    projection: Affine[A],
    x: A,
    activation: str | None = None,
    residual: A | None = None,
    gate: A | None = None,
) -> A:
    return model.ops.linear(x, projection.weight, projection.bias, activation, residual, gate)
