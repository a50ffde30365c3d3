"""The model families: how their checkpoints name weights and the keys of config.json.

No other module knows these names. The others use the roles in `gpt2cli.checkpoint.roles`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gpt2cli.checkpoint.roles import layer_of, role_of

# What programs that wrap a model put before the names of its weights: DataParallel, PEFT, trl, Lightning.
WRAPPERS = ("module", "base_model", "model", "pretrained_model", "_forward_module")
# What torch.compile, FSDP and activation checkpointing put before any part of a name.
SHELLS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


@dataclass(frozen=True, eq=False, repr=False)
class Architecture:
    """A family of models, as transformers writes its files.

    `weight_names` has the name of each role, with {layer} for the number of a layer. Files of a model without
    its head omit `prefix`. `buffers` is a pattern of the bare names of tensors that are not weights, and
    `extras` one of weights that a language model does not use; its group is what they are called.
    `config_keys` maps other keys that transformers reads to those of the family, and `old_config_keys` keys
    of older config.json files, which count only where the current one is missing.
    """

    model_type: str
    model_class: str
    tokenizer_class: str
    config_keys: Mapping[str, str]
    old_config_keys: Mapping[str, str]
    prefix: str
    weight_names: Mapping[str, str]
    buffers: str
    extras: str

    def full_name(self, name: str) -> str:
        """Return the name that files of the whole model give a weight, from its canonical name."""
        kind = name.rpartition(".")[2]
        return f"{self.weight_names[role_of(name)].format(layer=layer_of(name))}.{kind}"

    def bare_name(self, name: str) -> str:
        """Return the name that files of the model without its head give a weight, from its canonical name."""
        return self.full_name(name).removeprefix(self.prefix)

    def layer_in(self, bare_name: str) -> int | None:
        """Return the number of the layer in a bare name, or None if the name is outside the layers."""
        within = (name for name in self.weight_names.values() if "{layer}" in name)
        before = {name.partition("{layer}")[0].removeprefix(self.prefix) for name in within}
        found = re.match(f"(?:{'|'.join(map(re.escape, before))})([0-9]+)\\.", bare_name)
        return int(found[1]) if found else None


GPT2 = Architecture(
    model_type="gpt2",
    model_class="GPT2LMHeadModel",
    tokenizer_class="GPT2Tokenizer",
    config_keys={
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    old_config_keys={"n_ctx": "n_positions"},
    prefix="transformer.",
    weight_names={
        "token_embedding": "transformer.wte",
        "position_embedding": "transformer.wpe",
        "attention_norm": "transformer.h.{layer}.ln_1",
        "attention_qkv": "transformer.h.{layer}.attn.c_attn",
        "attention_output": "transformer.h.{layer}.attn.c_proj",
        "mlp_norm": "transformer.h.{layer}.ln_2",
        "mlp_in": "transformer.h.{layer}.mlp.c_fc",
        "mlp_out": "transformer.h.{layer}.mlp.c_proj",
        "final_norm": "transformer.ln_f",
        "head": "lm_head",
    },
    # Causal masks.
    buffers=r"h\.\d+\.(?:crossattention|attn)\.(bias|masked_bias)",
    # Attention to an encoder, which transformers skips where there is none.
    extras=r"h\.\d+\.(crossattention|ln_cross_attn)\..*",
)
ARCHITECTURES = (GPT2,)


def find_architecture(model_type: object) -> Architecture | None:
    """Return the family with the model_type of a config.json, or None if it is not supported."""
    return next((known for known in ARCHITECTURES if known.model_type == model_type), None)
