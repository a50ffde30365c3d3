"""The GPT-2 forward pass, written once for every backend.

Radford et al., "Language Models are Unsupervised Multitask Learners" (2019); the blocks are those of
Vaswani et al., "Attention Is All You Need" (2017), with the norms moved in front.
"""

from __future__ import annotations

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.model.kv_cache import KVCache
from gpt2cli.model.model import Model
from gpt2cli.ops.operations import A


def hidden_states(model: Model[A], ids: A, cache: KVCache[A] | None = None, first: int = 0) -> A:
    """Return the normalized output of the last block, (batch, time - first, width), for ids (batch, time).

    With a cache, the ids continue what it holds, and it then holds them too. Where nobody reads the outputs
    before position `first` of the ids, the last block does not compute them; -1 leaves the last one alone.

    Raises:
        ValueError: the ids go beyond the model's context or the cache's capacity.
    """
    config, weights, ops = model.config, model.weights, model.ops
    start = cache.length if cache else 0
    end = start + ids.shape[1]
    if end > config.n_positions:
        raise ValueError(f"{end} positions do not fit the context of {config.n_positions}")
    x = ops.embed(weights["wte.weight"], weights["wpe.weight"], ids, start)
    for layer in range(config.n_layer):
        x = _block(model, layer, x, cache, first if layer == config.n_layer - 1 else 0)
    if cache:
        cache.advance(ids.shape[1])
    return _norm(model, "ln_f", x)


def logits(model: Model[A], hidden: A, top: int | None = None) -> A:
    """Return the unnormalized log-probabilities (batch, time, vocabulary) of the next tokens.

    Where nobody needs more than the `top` highest at a position, others may be minus infinity.
    """
    weights = model.weights
    # A tied head is the embedding, unless it was converted to a type that embeddings do not have.
    return model.ops.head(
        hidden, weights["lm_head.weight" if "lm_head.weight" in weights else "wte.weight"], top
    )


def _block(model: Model[A], layer: int, x: A, cache: KVCache[A] | None, first: int) -> A:
    config, ops = model.config, model.ops
    qkv = _linear(model, f"h.{layer}.attn.c_attn", _norm(model, f"h.{layer}.ln_1", x))
    past = cache.layer(layer, x.shape[1]) if cache else None
    attended = ops.attention(qkv, config.n_head, _attention_scale(config, layer), past, first)
    x = _linear(model, f"h.{layer}.attn.c_proj", attended, residual=ops.tail(x, first))
    normed = _norm(model, f"h.{layer}.ln_2", x)
    inner = _linear(model, f"h.{layer}.mlp.c_fc", normed, activation=config.activation_function)
    return _linear(model, f"h.{layer}.mlp.c_proj", inner, residual=x)


def _attention_scale(config: ModelConfig, layer: int) -> float:
    scale = config.head_width**-0.5 if config.scale_attn_weights else 1.0
    return scale / (layer + 1) if config.scale_attn_by_inverse_layer_idx else scale


def _norm(model: Model[A], name: str, x: A) -> A:
    weights = model.weights
    epsilon = model.config.layer_norm_epsilon
    return model.ops.layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"], epsilon)


def _linear(model: Model[A], name: str, x: A, activation: str | None = None, residual: A | None = None) -> A:
    weight, bias = model.weights[f"{name}.weight"], model.weights[f"{name}.bias"]
    return model.ops.linear(x, weight, bias, activation, residual)
