"""The model families: what each changes, and how its checkpoints name weights and the keys of config.json.

No other module knows these names. The others use the roles in `gpt2cli.checkpoint.roles`.
"""

from __future__ import annotations

from gpt2cli.checkpoint import derived_fields
from gpt2cli.checkpoint.architecture import Architecture
from gpt2cli.checkpoint.roles import ATTENTION, MLP

# What programs that wrap a model put before the names of its weights: DataParallel, PEFT, trl, Lightning.
WRAPPERS = ("module", "base_model", "model", "pretrained_model", "_forward_module")
# What torch.compile, FSDP and activation checkpointing put before any part of a name.
SHELLS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# What most families call the fields of a config that GPT-2 names otherwise.
USUAL_KEYS = {
    "n_positions": "max_position_embeddings",
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
}


def _blocks(prefix: str, **names: str) -> dict[str, str]:
    return {role: f"{prefix}.{{layer}}.{name}" for role, name in names.items()}


GPT2 = Architecture(
    title="GPT-2",
    paper='Radford et al., "Language Models are Unsupervised Multitask Learners" (2019)',
    model_type="gpt2",
    model_class="GPT2LMHeadModel",
    tokenizer_class="GPT2Tokenizer",
    config_keys={
        "scale_attn_weights": "scale_attn_weights",
        "scale_attn_by_inverse_layer_idx": "scale_attn_by_inverse_layer_idx",
    },
    other_keys={key: field for field, key in USUAL_KEYS.items()},
    old_keys={"n_ctx": "n_positions"},
    prefix="transformer.",
    weight_names={
        "token_embedding": "transformer.wte",
        "position_embedding": "transformer.wpe",
        **_blocks(
            "transformer.h",
            attention_norm="ln_1",
            attention_qkv="attn.c_attn",
            attention_output="attn.c_proj",
            mlp_norm="ln_2",
            mlp_in="mlp.c_fc",
            mlp_out="mlp.c_proj",
        ),
        "final_norm": "transformer.ln_f",
        "head": "lm_head",
    },
    out_in=False,
    biased=ATTENTION | MLP,
    # Causal masks.
    buffers=r"h\.\d+\.(?:crossattention|attn)\.(bias|masked_bias)",
    # Attention to an encoder, which transformers skips where there is none.
    extras=r"h\.\d+\.(crossattention|ln_cross_attn)\..*",
)


GPT1 = GPT2._replace(
    title="GPT-1",
    paper='Radford et al., "Improving Language Understanding by Generative Pre-Training" (2018)',
    model_type="openai-gpt",
    model_class="OpenAIGPTLMHeadModel",
    tokenizer_class="OpenAIGPTTokenizer",
    config_keys={"activation_function": "afn"},
    defaults={"vocab_size": 40478, "n_positions": 512},
    derive=derived_fields.gpt1_fields,
    weight_names={
        **{role: name for role, name in GPT2.weight_names.items() if role != "final_norm"},
        "token_embedding": "transformer.tokens_embed",
        "position_embedding": "transformer.positions_embed",
    },
    norm_after=True,
    extras="(?!)()",
)


GPT_NEO = Architecture(
    title="GPT-Neo",
    paper='Black et al., "GPT-Neo: Large Scale Autoregressive Language Modeling with Mesh-Tensorflow" (2021)',
    model_type="gpt_neo",
    model_class="GPTNeoForCausalLM",
    tokenizer_class="GPT2Tokenizer",
    config_keys={
        **USUAL_KEYS,
        "n_layer": "num_layers",
        "n_head": "num_heads",
        "n_inner": "intermediate_size",
    },
    other_keys={"num_attention_heads": "n_head", "num_hidden_layers": "n_layer"},
    defaults={"n_positions": 2048, "n_embd": 2048, "n_layer": 24, "n_head": 16},
    derive=derived_fields.neo_fields,
    prefix="transformer.",
    weight_names={
        **{role: name for role, name in GPT2.weight_names.items() if role != "attention_qkv"},
        **_blocks(
            "transformer.h",
            attention_q="attn.attention.q_proj",
            attention_k="attn.attention.k_proj",
            attention_v="attn.attention.v_proj",
            attention_output="attn.attention.out_proj",
        ),
    },
    biased=MLP | {"attention_output"},
    buffers=r"h\.\d+\.attn\.attention\.(bias|masked_bias)",
)


GPT_NEOX = Architecture(
    title="GPT-NeoX",
    paper='Black et al., "GPT-NeoX-20B: An Open-Source Autoregressive Language Model" (2022)',
    model_type="gpt_neox",
    model_class="GPTNeoXForCausalLM",
    tokenizer_class="GPTNeoXTokenizer",
    config_keys={
        **USUAL_KEYS,
        "n_inner": "intermediate_size",
        "activation_function": "hidden_act",
        "layer_norm_epsilon": "layer_norm_eps",
    },
    defaults={
        "vocab_size": 50432,
        "n_positions": 2048,
        "n_embd": 6144,
        "n_layer": 44,
        "n_head": 64,
        "n_inner": 24576,
        "activation_function": "gelu",
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 2,
    },
    derive=derived_fields.neox_fields,
    prefix="gpt_neox.",
    weight_names={
        "token_embedding": "gpt_neox.embed_in",
        **_blocks(
            "gpt_neox.layers",
            attention_norm="input_layernorm",
            attention_qkv="attention.query_key_value",
            attention_output="attention.dense",
            mlp_norm="post_attention_layernorm",
            mlp_in="mlp.dense_h_to_4h",
            mlp_out="mlp.dense_4h_to_h",
        ),
        "final_norm": "gpt_neox.final_layer_norm",
        "head": "embed_out",
    },
    learned_positions=False,
    fused_by_head=True,
    biased=ATTENTION | MLP,
    buffers=r"layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)",
)


LLAMA = Architecture(
    title="LLaMA",
    paper='Touvron et al., "LLaMA: Open and Efficient Foundation Language Models" (2023)',
    model_type="llama",
    model_class="LlamaForCausalLM",
    tokenizer_class="PreTrainedTokenizerFast",
    config_keys={
        **USUAL_KEYS,
        "n_inner": "intermediate_size",
        "activation_function": "hidden_act",
        "layer_norm_epsilon": "rms_norm_eps",
        "n_kv_head": "num_key_value_heads",
        "head_dim": "head_dim",
    },
    defaults={
        "vocab_size": 32000,
        "n_positions": 2048,
        "n_embd": 4096,
        "n_layer": 32,
        "n_head": 32,
        "n_inner": 11008,
        "activation_function": "silu",
        "tie_word_embeddings": False,
        "layer_norm_epsilon": 1e-6,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    derive=derived_fields.llama_fields,
    prefix="model.",
    weight_names={
        "token_embedding": "model.embed_tokens",
        **_blocks(
            "model.layers",
            attention_norm="input_layernorm",
            attention_q="self_attn.q_proj",
            attention_k="self_attn.k_proj",
            attention_v="self_attn.v_proj",
            attention_output="self_attn.o_proj",
            mlp_norm="post_attention_layernorm",
            mlp_gate="mlp.gate_proj",
            mlp_in="mlp.up_proj",
            mlp_out="mlp.down_proj",
        ),
        "final_norm": "model.norm",
        "head": "lm_head",
    },
    norm="rms",
    learned_positions=False,
    biased=ATTENTION | MLP,
    buffers=r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq",
)


MISTRAL = LLAMA._replace(
    title="Mistral",
    paper='Jiang et al., "Mistral 7B" (2023)',
    model_type="mistral",
    model_class="MistralForCausalLM",
    defaults={**LLAMA.defaults, "n_positions": 131072, "n_inner": 14336, "n_kv_head": 8},
    derive=derived_fields.mistral_fields,
    biased=frozenset(),
)


QWEN2 = LLAMA._replace(
    title="Qwen2",
    paper='Yang et al., "Qwen2 Technical Report" (2024)',
    model_type="qwen2",
    model_class="Qwen2ForCausalLM",
    defaults={**LLAMA.defaults, "vocab_size": 151936, "n_positions": 32768, "n_inner": 22016},
    derive=derived_fields.qwen_fields,
    biased=frozenset({"attention_q", "attention_k", "attention_v"}),
)


OPT = Architecture(
    title="OPT",
    paper='Zhang et al., "OPT: Open Pre-trained Transformer Language Models" (2022)',
    model_type="opt",
    model_class="OPTForCausalLM",
    tokenizer_class="GPT2Tokenizer",
    config_keys={**USUAL_KEYS, "n_inner": "ffn_dim"},
    defaults={
        "vocab_size": 50272,
        "n_positions": 2048,
        "n_inner": 3072,
        "activation_function": "relu",
        "bos_token_id": 2,
        "eos_token_id": 2,
        "pad_token_id": 1,
    },
    # OPT-350m alone differs in the first.
    fixed={
        "do_layer_norm_before": True,
        "_remove_final_layer_norm": False,
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
    },
    prefix="model.",
    weight_names={
        "token_embedding": "model.decoder.embed_tokens",
        "position_embedding": "model.decoder.embed_positions",
        **_blocks(
            "model.decoder.layers",
            attention_norm="self_attn_layer_norm",
            attention_q="self_attn.q_proj",
            attention_k="self_attn.k_proj",
            attention_v="self_attn.v_proj",
            attention_output="self_attn.out_proj",
            mlp_norm="final_layer_norm",
            mlp_in="fc1",
            mlp_out="fc2",
        ),
        "final_norm": "model.decoder.final_layer_norm",
        "head": "lm_head",
    },
    position_offset=2,
    biased=ATTENTION | MLP,
)


ARCHITECTURES = (GPT2, GPT1, GPT_NEO, GPT_NEOX, LLAMA, MISTRAL, QWEN2, OPT)


def find_architecture(model_type: object) -> Architecture | None:
    """Return the family with the model_type of a config.json, or None if it is not supported."""
    return next((known for known in ARCHITECTURES if known.model_type == model_type), None)
