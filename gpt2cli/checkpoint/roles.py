"""The roles of a model's weights, whatever the files of its family call them.

A canonical name consists of the weight's role and kind, after the layer's number for weights in a layer:
`token_embedding.weight`, `layers.3.attention_qkv.bias`.
"""

from __future__ import annotations

from collections.abc import Sequence

LAYERS = "layers."
TOKEN_EMBEDDING, POSITION_EMBEDDING = "token_embedding.weight", "position_embedding.weight"
HEAD = "head.weight"
LAYER_ROLES = (
    *("attention_norm", "attention_qkv", "attention_q", "attention_k", "attention_v", "attention_output"),
    *("mlp_norm", "mlp_gate", "mlp_in", "mlp_out"),
)
ATTENTION = frozenset({"attention_q", "attention_k", "attention_v", "attention_qkv", "attention_output"})
MLP = frozenset({"mlp_gate", "mlp_in", "mlp_out"})
# Weights of which single rows are looked up.
TABLES = {TOKEN_EMBEDDING, POSITION_EMBEDDING, HEAD}
# The outputs of these are added to the residual stream.
RESIDUAL_ROLES = ("attention_output", "mlp_out")


def layer_of(name: str) -> int | None:
    """Return the number of the layer that a weight belongs to, or None if it is outside the layers."""
    return int(name.split(".")[1]) if name.startswith(LAYERS) else None


def role_of(name: str) -> str:
    """Return the role of a weight."""
    return name.split(".")[-2]


def is_layer_matrix(name: str, shape: Sequence[int]) -> bool:
    """Return whether a weight is one of the matrices of a layer."""
    return name.startswith(LAYERS) and len(shape) == 2
