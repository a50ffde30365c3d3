"""The weights of a model in the order of the forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic

from gpt2cli.checkpoint.roles import HEAD, LAYERS, POSITION_EMBEDDING, TOKEN_EMBEDDING
from gpt2cli.ops.operations import A


@dataclass(eq=False, repr=False)
class Affine(Generic[A]):
    """The weight and the bias, if it has one, of a projection or a norm."""

    weight: A
    bias: A | None


@dataclass(eq=False, repr=False)
class Layer(Generic[A]):
    """The weights of one block, in the order of use.

    Queries, keys and values have one matrix, `attention_qkv`, or one each. Only a gated MLP has a gate.
    """

    attention_norm: Affine[A]
    attention_qkv: Affine[A] | None
    attention_q: Affine[A] | None
    attention_k: Affine[A] | None
    attention_v: Affine[A] | None
    attention_output: Affine[A]
    mlp_norm: Affine[A]
    mlp_gate: Affine[A] | None
    mlp_in: Affine[A]
    mlp_out: Affine[A]


@dataclass(eq=False, repr=False)
class Parts(Generic[A]):
    """The weights of a model, in the order of use."""

    token_embedding: A
    position_embedding: A | None
    layers: tuple[Layer[A], ...]
    final_norm: Affine[A] | None
    head: A


def arrange(weights: Mapping[str, A], layers: int) -> Parts[A]:
    """Return weights with canonical names as the parts of a model."""

    def affine(name: str) -> Any:
        weight = weights.get(f"{name}.weight")
        return None if weight is None else Affine(weight, weights.get(f"{name}.bias"))

    return Parts(
        weights[TOKEN_EMBEDDING],
        weights.get(POSITION_EMBEDDING),
        tuple(
            Layer(**{role.name: affine(f"{LAYERS}{layer}.{role.name}") for role in fields(Layer)})
            for layer in range(layers)
        ),
        affine("final_norm"),
        # A tied head is the embedding, unless it was converted to a type that embeddings do not use.
        weights[HEAD if HEAD in weights else TOKEN_EMBEDDING],
    )
