"""The weights of a model in the order of the forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Generic

from gpt2cli.checkpoint.roles import HEAD, LAYERS, POSITION_EMBEDDING, TOKEN_EMBEDDING
from gpt2cli.ops.operations import A


@dataclass(eq=False, repr=False)
class Affine(Generic[A]):
    """The weight and the bias of a projection or a norm."""

    weight: A
    bias: A


@dataclass(eq=False, repr=False)
class Layer(Generic[A]):
    """The weights of one block, in the order of use."""

    attention_norm: Affine[A]
    attention_qkv: Affine[A]
    attention_output: Affine[A]
    mlp_norm: Affine[A]
    mlp_in: Affine[A]
    mlp_out: Affine[A]


@dataclass(eq=False, repr=False)
class Parts(Generic[A]):
    """The weights of a model, in the order of use."""

    token_embedding: A
    position_embedding: A
    layers: tuple[Layer[A], ...]
    final_norm: Affine[A]
    head: A


def arrange(weights: Mapping[str, A], layers: int) -> Parts[A]:
    """Return weights with canonical names as the parts of a model."""

    def affine(name: str) -> Affine[A]:
        return Affine(weights[f"{name}.weight"], weights[f"{name}.bias"])

    return Parts(
        weights[TOKEN_EMBEDDING],
        weights[POSITION_EMBEDDING],
        tuple(
            Layer(**{role.name: affine(f"{LAYERS}{layer}.{role.name}") for role in fields(Layer)})
            for layer in range(layers)
        ),
        affine("final_norm"),
        # A tied head is the embedding, unless it was converted to a type that embeddings do not use.
        weights[HEAD if HEAD in weights else TOKEN_EMBEDDING],
    )
