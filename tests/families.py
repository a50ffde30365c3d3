"""Random checkpoints of each family, created by transformers, of shapes that reveal a swapped axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

# Logits of a fresh model hardly differ; wider weights make every error visible.
WIDE = 0.3
HEADS = {"num_attention_heads": 6, "hidden_size": 24, "num_hidden_layers": 3, "max_position_embeddings": 48}
LLAMA = {**HEADS, "vocab_size": 131, "intermediate_size": 40, "num_key_value_heads": 2}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


class Family(NamedTuple):
    """A variant of a family: the classes of transformers, and a small config."""

    config: type[Any]
    model: type[Any]
    settings: dict[str, Any]


FAMILIES: dict[str, Family] = {
    "gpt2": Family(
        transformers.GPT2Config,
        transformers.GPT2LMHeadModel,
        {"vocab_size": 131, "n_positions": 48, "n_embd": 24, "n_layer": 3, "n_head": 4},
    ),
    "gpt1": Family(
        transformers.OpenAIGPTConfig,
        transformers.OpenAIGPTLMHeadModel,
        {"vocab_size": 131, "n_positions": 48, "n_embd": 24, "n_layer": 3, "n_head": 4},
    ),
    "gpt-neo": Family(
        transformers.GPTNeoConfig,
        transformers.GPTNeoForCausalLM,
        {
            "vocab_size": 131,
            "max_position_embeddings": 48,
            "hidden_size": 24,
            "num_layers": 3,
            "num_heads": 4,
            "window_size": 5,
            "intermediate_size": 40,
            "attention_types": [[["global", "local"], 1], [["local"], 1]],
        },
    ),
    "gpt-neox": Family(
        transformers.GPTNeoXConfig,
        transformers.GPTNeoXForCausalLM,
        {**HEADS, "vocab_size": 131, "num_attention_heads": 3, "intermediate_size": 56},
    ),
    "gpt-neox-sequential": Family(
        transformers.GPTNeoXConfig,
        transformers.GPTNeoXForCausalLM,
        {
            **HEADS,
            "vocab_size": 131,
            "num_attention_heads": 3,
            "intermediate_size": 56,
            "use_parallel_residual": False,
            "attention_bias": False,
            "rotary_pct": 1.0,
        },
    ),
    "opt": Family(
        transformers.OPTConfig,
        transformers.OPTForCausalLM,
        {**HEADS, "vocab_size": 131, "ffn_dim": 40, "init_std": WIDE},
    ),
    "llama": Family(transformers.LlamaConfig, transformers.LlamaForCausalLM, LLAMA),
    "llama-3": Family(
        transformers.LlamaConfig,
        transformers.LlamaForCausalLM,
        {
            **LLAMA,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "tie_word_embeddings": True,
            "rope_parameters": LLAMA3,
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "llama-linear": Family(
        transformers.LlamaConfig,
        transformers.LlamaForCausalLM,
        {**LLAMA, "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}},
    ),
    "mistral": Family(
        transformers.MistralConfig,
        transformers.MistralForCausalLM,
        {**LLAMA, "sliding_window": 5, "head_dim": 4},
    ),
    "qwen2": Family(
        transformers.Qwen2Config, transformers.Qwen2ForCausalLM, {**LLAMA, "tie_word_embeddings": True}
    ),
    "qwen2-window": Family(
        transformers.Qwen2Config,
        transformers.Qwen2ForCausalLM,
        {**LLAMA, "use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
    ),
}


def save_family(directory: Path, name: str, seed: int = 0, **changes: Any) -> Any:
    """Save a random model of a family and return it."""
    torch.manual_seed(seed)
    family = FAMILIES[name]
    settings = {"initializer_range": WIDE, "bos_token_id": 0, "eos_token_id": 0, **family.settings, **changes}
    model = family.model(family.config(**settings, attn_implementation="eager")).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Fresh biases and norms are all zeros and ones, which would hide their loss.
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(directory)
    return model
