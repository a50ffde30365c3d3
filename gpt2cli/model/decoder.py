"""The GPT-2 forward pass, written once for every backend.

Radford et al., "Language Models are Unsupervised Multitask Learners" (2019); the blocks are those of
Vaswani et al., "Attention Is All You Need" (2017), with layer norm moved to the input of each sub-block.
"""

from __future__ import annotations

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.model.kv_cache import KVCache
from gpt2cli.model.model import Model
from gpt2cli.model.parts import Affine
from gpt2cli.ops.operations import A, split_qkv


def hidden_states(model: Model[A], ids: A, cache: KVCache[A] | None = None, first: int = 0) -> A:
    """Return the normalized output of the last block, (batch, time - first, width), for ids (batch, time).

    With a cache, the ids continue its positions and are added to it. The last block skips the outputs
    before position `first` of the ids; -1 computes only the last output.

    Raises:
        ValueError: the ids exceed the model's context or the cache's capacity.
    """
    config, parts, ops = model.config, model.parts, model.ops
    start = cache.length if cache else 0
    end = start + ids.shape[1]
    if end > config.n_positions:
        raise ValueError(f"{end} positions do not fit the context of {config.n_positions}")
    x = ops.embed(parts.token_embedding, parts.position_embedding, ids, start)
    for number in range(config.n_layer):
        x = _block(model, number, x, cache, first if number == config.n_layer - 1 else 0)
    if cache:
        cache.advance(ids.shape[1])
    return _norm(model, parts.final_norm, x)


def logits(model: Model[A], hidden: A, top: int | None = None) -> A:
    """Return the unnormalized log-probabilities (batch, time, vocabulary) of the next tokens.

    With `top`, only the `top` highest logits at each position are certain; others may be minus infinity.
    """
    return model.ops.head(hidden, model.parts.head, top)


def _block(model: Model[A], number: int, x: A, cache: KVCache[A] | None, first: int) -> A:
    config, layer, ops = model.config, model.parts.layers[number], model.ops
    qkv = _linear(model, layer.attention_qkv, _norm(model, layer.attention_norm, x))
    past = cache.layer(number, x.shape[1]) if cache else None
    heads = split_qkv(qkv, config.n_head, config.n_head)
    attended = ops.attention(*heads, _attention_scale(config, number), None, past, first)
    x = _linear(model, layer.attention_output, attended, residual=ops.tail(x, first))
    normed = _norm(model, layer.mlp_norm, x)
    inner = _linear(model, layer.mlp_in, normed, activation=config.activation_function)
    return _linear(model, layer.mlp_out, inner, residual=x)


def _attention_scale(config: ModelConfig, number: int) -> float:
    scale = config.head_width**-0.5 if config.scale_attn_weights else 1.0
    return scale / (number + 1) if config.scale_attn_by_inverse_layer_idx else scale


def _norm(model: Model[A], norm: Affine[A], x: A) -> A:
    return model.ops.layer_norm(x, norm.weight, norm.bias, model.config.layer_norm_epsilon)


def _linear(
    model: Model[A], projection: Affine[A], x: A, activation: str | None = None, residual: A | None = None
) -> A:
    return model.ops.linear(x, projection.weight, projection.bias, activation, residual)
