"""What a model changes of the Transformer's decoder, in the words of the papers."""

from __future__ import annotations

from itertools import pairwise

from gpt2cli.checkpoint.config import ModelConfig

NORMS = {"layer": "LayerNorm", "rms": "RMSNorm"}
ACTIVATIONS = {"gelu": "GELU", "gelu_new": "GELU by tanh", "relu": "ReLU", "silu": "SiLU"}
# Gated activations by the name of the gate's (Shazeer, "GLU Variants Improve Transformer", 2020).
GATED = {"silu": "SwiGLU", "swish": "SwiGLU", "gelu": "GEGLU", "relu": "ReGLU", "sigmoid": "GLU"}
# Matrices whose biases come and go together, and the roles that stand for them.
BIASED = {
    "queries, keys and values": {"attention_qkv", "attention_q"},
    "attention output": {"attention_output"},
    "MLP": {"mlp_in"},
}


def architecture_traits(config: ModelConfig) -> dict[str, str]:
    """Return what a model's decoder does at each point where families differ, and the paper that says why."""
    facts = config.architecture
    return {
        "family": facts.title,
        "paper": facts.paper,
        "norm": f"{NORMS[facts.norm]} {'after' if facts.norm_after else 'before'} each sub-block",
        "positions": _positions(config),
        "attention_pattern": _attention_pattern(config),
        "attention_heads": _attention_heads(config),
        "activation": _activation(config),
        "residual": "parallel" if config.parallel_residual else "sequential",
        "biases": _biases(config),
        "head": "tied" if config.tie_word_embeddings else "untied",
    }


def _positions(config: ModelConfig) -> str:
    rotary = config.rotary
    if rotary is None:
        return "learned"
    part = "" if rotary.fraction == 1 else f" on {rotary.fraction:.0%} of each head"
    scaled = {"default": "", "linear": ", linear scaling", "llama3": ", LLaMA 3 scaling"}
    factor = "" if rotary.scaling == "default" else f" by {rotary.factor:g}"
    return f"rotary{part}{scaled[rotary.scaling]}{factor}"


def _attention_pattern(config: ModelConfig) -> str:
    scores = "" if config.scale_attn_weights else ", unscaled"
    if config.scale_attn_by_inverse_layer_idx:
        scores += ", scaled by layer"
    are_local = [window is not None for window in config.windows]
    if not any(are_local):
        return f"global{scores}"
    window = max(window for window in config.windows if window)
    if all(are_local):
        return f"local, window {window:,}{scores}"
    if all(first != second for first, second in pairwise(are_local)):
        return f"global and local in turn, window {window:,}{scores}"
    return f"local in {sum(are_local)} of {config.n_layer} layers, window {window:,}{scores}"


def _attention_heads(config: ModelConfig) -> str:
    if config.kv_heads == config.n_head:
        return "multi-head"
    return "multi-query" if config.kv_heads == 1 else f"grouped-query, {config.kv_heads} groups"


def _activation(config: ModelConfig) -> str:
    name = config.activation_function
    plain = ACTIVATIONS.get(name, name)
    return GATED.get(name, f"gated {plain}") if config.architecture.gated else plain


def _biases(config: ModelConfig) -> str:
    facts = config.architecture
    biased = facts.biased & set(facts.weight_names) - set(config.unbiased)
    found = [part for part, roles in BIASED.items() if roles & biased]
    return "all matrices" if len(found) == len(BIASED) else "; ".join(found) or "none"
