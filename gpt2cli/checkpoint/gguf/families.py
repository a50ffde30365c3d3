"""The model families as GGUF files describe them, and what these files call the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpt2cli.checkpoint.architectures import GPT2
from gpt2cli.checkpoint.roles import LAYERS, layer_of, role_of

# The name of each role, in all families; {layer} stands for the number of a layer.
WEIGHT_NAMES: Mapping[str, str] = {
    "token_embedding": "token_embd",
    "position_embedding": "position_embd",
    "attention_norm": "blk.{layer}.attn_norm",
    "attention_qkv": "blk.{layer}.attn_qkv",
    "attention_output": "blk.{layer}.attn_output",
    "mlp_norm": "blk.{layer}.ffn_norm",
    "mlp_in": "blk.{layer}.ffn_up",
    "mlp_out": "blk.{layer}.ffn_down",
    "final_norm": "output_norm",
    "head": "output",
}


@dataclass(frozen=True, eq=False, repr=False)
class GgufFamily:
    """A family of models, as GGUF files describe it.

    `name` is its `general.architecture`. `keys` has the key of each field of a config, which follows the
    name. `implied` has the values of the fields that have no key: readers of GGUF assume the first.
    """

    name: str
    model_type: str
    keys: Mapping[str, str]
    implied: Mapping[str, tuple[Any, ...]]

    def key(self, field: str) -> str:
        """Return the whole key of a field."""
        return f"{self.name}.{self.keys[field]}"


FAMILIES = (
    GgufFamily(
        name="gpt2",
        model_type=GPT2.model_type,
        keys={
            "n_positions": "context_length",
            "n_embd": "embedding_length",
            "n_inner": "feed_forward_length",
            "n_layer": "block_count",
            "n_head": "attention.head_count",
            "layer_norm_epsilon": "attention.layer_norm_epsilon",
        },
        implied={
            # Names of the same function.
            "activation_function": (
                *("gelu_new", "gelu_pytorch_tanh", "gelu_accurate", "gelu_fast", "gelu_python_tanh"),
            ),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
        },
    ),
)


def family_named(name: object) -> GgufFamily | None:
    """Return the family with a `general.architecture`, or None if it is not supported."""
    return next((family for family in FAMILIES if family.name == name), None)


def family_of(model_type: str) -> GgufFamily | None:
    """Return the family with the model_type of a config.json, or None if GGUF files cannot hold it."""
    return next((family for family in FAMILIES if family.model_type == model_type), None)


def gguf_name(name: str) -> str:
    """Return what GGUF files call a weight, from its canonical name."""
    kind = name.rpartition(".")[2]
    return f"{WEIGHT_NAMES[role_of(name)].format(layer=layer_of(name))}.{kind}"


def is_transposed(name: str, dimensions: int) -> bool:
    """Return whether GGUF files have a weight as (out, in), which all matrices of layers are there."""
    return name.startswith(LAYERS) and dimensions == 2
