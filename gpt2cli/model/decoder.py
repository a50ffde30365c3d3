"""The forward pass of the GPT family, written once for every family and every backend.

The blocks are those of Vaswani et al., "Attention Is All You Need" (2017). What a family changes of them are
facts of its row in `checkpoint/architectures.py`, where its paper is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpt2cli.model.kv_cache import Cache, Reading, uncached
from gpt2cli.model.model import Model
from gpt2cli.model.parts import Layer
from gpt2cli.ops.operations import A, in_batch, split_heads, split_qkv

if TYPE_CHECKING:
    from gpt2cli.model.watcher import Watcher


def hidden_states(
    model: Model[A],
    ids: A,
    cache: Cache[A] | None = None,
    first: int = 0,
    watch: Watcher[A] | None = None,
) -> A:
    """Return the output of the last block, normalized, (batch, outputs, width), for ids (batch, time).

    With a cache, the ids continue its positions and are added to it. The last block skips the outputs
    before position `first` of the ids; -1 computes only the last output. `watch` sees what blocks take in.

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
        if watch:
            watch.residual(number, x)
        x = _block(model, number, x, reading, watch)
    if watch:
        watch.residual(config.n_layer, x)
    if cache:
        cache.advance(time)
        x = in_batch(x, batch)
    return model.normalize(parts.final_norm, x)


def logits(model: Model[A], hidden: A, top: int | None = None) -> A:
    """Return the unnormalized log-probabilities (batch, time, vocabulary) of the next tokens.

    With `top`, only the `top` highest logits at each position are certain; others may be minus infinity.
    """
    return model.ops.head(hidden, model.parts.head, top)


def _block(model: Model[A], number: int, x: A, reading: Reading[A], watch: Watcher[A] | None) -> A:
    config, layer, facts = model.config, model.parts.layers[number], model.config.architecture
    normed = x if facts.norm_after else model.normalize(layer.attention_norm, x)
    attended = _attend(model, number, normed, reading, watch)
    if number == config.n_layer - 1:
        x = model.ops.select(x, reading.outputs)
    if config.parallel_residual:
        between = model.linear(layer.attention_output, attended, residual=x)
        return _mlp(model, layer, model.normalize(layer.mlp_norm, x), residual=between)
    x = model.linear(layer.attention_output, attended, residual=x)
    if facts.norm_after:
        x = model.normalize(layer.attention_norm, x)
        return model.normalize(layer.mlp_norm, _mlp(model, layer, x, residual=x))
    return _mlp(model, layer, model.normalize(layer.mlp_norm, x), residual=x)


def _attend(model: Model[A], number: int, x: A, reading: Reading[A], watch: Watcher[A] | None) -> A:
    config, ops = model.config, model.ops
    queries, keys, values = _queries_keys_values(model, model.parts.layers[number], x)
    if model.rotary:
        queries, keys = ops.rotate(queries, keys, *model.rotary.at(reading.places))
    scale, window = config.attention_scale(number), config.windows[number] if config.windows else None
    if watch:
        watch.attention(number, queries, keys, scale, window)
    past, first = reading.past(number, number == config.n_layer - 1)
    return ops.attention(queries, keys, values, scale, window, past, first)


def _queries_keys_values(model: Model[A], layer: Layer[A], x: A) -> tuple[A, A, A]:
    config = model.config
    if layer.attention_qkv:
        fused = model.linear(layer.attention_qkv, x)
        return split_qkv(fused, config.n_head, config.kv_heads, config.architecture.fused_by_head)
    separate = (layer.attention_q, layer.attention_k, layer.attention_v)
    queries, keys, values = (model.linear(part, x) for part in separate if part)
    return (
        split_heads(queries, config.n_head),
        split_heads(keys, config.kv_heads),
        split_heads(values, config.kv_heads),
    )


def _mlp(model: Model[A], layer: Layer[A], x: A, residual: A) -> A:
    activation = model.config.activation_function
    if layer.mlp_gate:
        gate = model.linear(layer.mlp_gate, x, activation)
        inner = model.linear(layer.mlp_in, x, gate=gate)
    else:
        inner = model.linear(layer.mlp_in, x, activation)
    return model.linear(layer.mlp_out, inner, residual=residual)
