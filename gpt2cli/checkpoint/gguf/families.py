"""The model families as GGUF files describe them, and what these files call the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gpt2cli.checkpoint.architectures import GPT2, GPT_NEOX, LLAMA, MISTRAL, QWEN2
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.roles import LAYERS, layer_of, role_of

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# The name of each role, in all families; {layer} stands for the number of a layer.
WEIGHT_NAMES: Mapping[str, str] = {
    "token_embedding": "token_embd",
    "position_embedding": "position_embd",
    "attention_norm": "blk.{layer}.attn_norm",
    "attention_qkv": "blk.{layer}.attn_qkv",
    "attention_q": "blk.{layer}.attn_q",
    "attention_k": "blk.{layer}.attn_k",
    "attention_v": "blk.{layer}.attn_v",
    "attention_output": "blk.{layer}.attn_output",
    "mlp_norm": "blk.{layer}.ffn_norm",
    "mlp_gate": "blk.{layer}.ffn_gate",
    "mlp_in": "blk.{layer}.ffn_up",
    "mlp_out": "blk.{layer}.ffn_down",
    "final_norm": "output_norm",
    "head": "output",
}


# Names of the same function.
GELU_BY_TANH = ("gelu_new", "gelu_pytorch_tanh", "gelu_accurate", "gelu_fast", "gelu_python_tanh")


@dataclass(frozen=True, eq=False, repr=False)
class GgufFamily:
    """A family of models, as GGUF files describe it.

    `name` is its `general.architecture`, and `model_types` those of config.json, of which the first is read.
    `keys` has the key of each field of a config, which follows the name, `optional` those that may be
    missing. `implied` has the values of the fields that have no key: readers of GGUF assume the first.
    `rotary_keys` are the keys in config.json of the rotated part of each head and of the base, and
    `scalings` the scalings of rotary positions that readers know.

    `bias_keys` has the keys in config.json which say that there are biases, and a role whose bias shows that.

    `rotates_neighbors` means that each pair of numbers that is rotated lies together, which takes another
    order of the rows of queries and keys than in the files of transformers. `needs_head` means that readers
    look for a head even where it is the embedding again.
    """

    name: str
    model_types: tuple[str, ...]
    keys: Mapping[str, str]
    implied: Mapping[str, tuple[Any, ...]]
    optional: Mapping[str, str] = field(default_factory=dict)
    rotary_keys: tuple[str, str] | None = None
    scalings: tuple[str, ...] = ("default", "linear")
    bias_keys: Mapping[str, str] = field(default_factory=dict)
    rotates_neighbors: bool = False
    needs_head: bool = False

    def key(self, name: str) -> str:
        """Return the whole key of a field, or of what follows the family's name."""
        return f"{self.name}.{self.keys.get(name) or self.optional.get(name) or name}"


SIZES = {
    "n_positions": "context_length",
    "n_embd": "embedding_length",
    "n_inner": "feed_forward_length",
    "n_layer": "block_count",
    "n_head": "attention.head_count",
}
GPT2_FILES = GgufFamily(
    name="gpt2",
    model_types=(GPT2.model_type,),
    keys={**SIZES, "layer_norm_epsilon": "attention.layer_norm_epsilon"},
    implied={
        "activation_function": GELU_BY_TANH,
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
    },
)
LLAMA_FILES = GgufFamily(
    name="llama",
    model_types=(LLAMA.model_type, MISTRAL.model_type),
    keys={**SIZES, "layer_norm_epsilon": "attention.layer_norm_rms_epsilon"},
    optional={"n_kv_head": "attention.head_count_kv", "head_dim": "attention.key_length"},
    implied={"activation_function": ("silu", "swish")},
    rotary_keys=("partial_rotary_factor", "rope_theta"),
    scalings=("default", "linear", "llama3"),
    bias_keys={"attention_bias": "attention_q", "mlp_bias": "mlp_in"},
    rotates_neighbors=True,
)
QWEN2_FILES = replace(
    LLAMA_FILES,
    name="qwen2",
    model_types=(QWEN2.model_type,),
    scalings=GPT2_FILES.scalings,
    bias_keys={},
    rotates_neighbors=False,
)
GPT_NEOX_FILES = GgufFamily(
    name="gptneox",
    model_types=(GPT_NEOX.model_type,),
    keys={**GPT2_FILES.keys, "parallel_residual": "use_parallel_residual"},
    implied={"activation_function": ("gelu", "gelu_python")},
    rotary_keys=("rotary_pct", "rotary_emb_base"),
    needs_head=True,
)
FAMILIES = (GPT2_FILES, LLAMA_FILES, QWEN2_FILES, GPT_NEOX_FILES)


class RowOrder(NamedTuple):
    """Another order of the rows of a matrix: they are seen in a shape, and two of its axes are swapped."""

    shape: tuple[int, int, int]
    axes: tuple[int, int]

    def of(self, rows: Array) -> Array:
        """Return a copy of rows, or numbers, in this order."""
        return rows.reshape(*self.shape, *rows.shape[1:]).swapaxes(*self.axes).reshape(rows.shape)

    def inverse(self) -> RowOrder:
        """Return the order that undoes this one."""
        swapped = list(self.shape)
        first, second = self.axes
        swapped[first], swapped[second] = swapped[second], swapped[first]
        return RowOrder((swapped[0], swapped[1], swapped[2]), self.axes)


def family_named(name: object) -> GgufFamily | None:
    """Return the family with a `general.architecture`, or None if it is not supported."""
    return next((family for family in FAMILIES if family.name == name), None)


def family_of(model_type: str) -> GgufFamily | None:
    """Return the family with the model_type of a config.json, or None if GGUF files cannot hold it."""
    return next((family for family in FAMILIES if model_type in family.model_types), None)


def gguf_name(name: str) -> str:
    """Return what GGUF files call a weight, from its canonical name."""
    kind = name.rpartition(".")[2]
    return f"{WEIGHT_NAMES[role_of(name)].format(layer=layer_of(name))}.{kind}"


def is_transposed(name: str, dimensions: int) -> bool:
    """Return whether GGUF files have a weight as (out, in), which all matrices of layers are there."""
    return name.startswith(LAYERS) and dimensions == 2


def order_in_file(name: str, config: ModelConfig) -> RowOrder | None:
    """Return the order that the rows of a weight have in GGUF files, if it is not that of its family."""
    role, width = role_of(name), config.head_width
    if role == "attention_qkv" and config.architecture.fused_by_head:
        return RowOrder((config.n_head, 3, width), (0, 1))
    heads = {"attention_q": config.n_head, "attention_k": config.kv_heads}
    family = family_of(config.model_type)
    if family is None or not family.rotates_neighbors or role not in heads:
        return None
    return RowOrder((heads[role], 2, width // 2), (1, 2))
