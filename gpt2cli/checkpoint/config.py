"""The shape of a model, read from its config.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from gpt2cli.checkpoint.architecture import Architecture
from gpt2cli.checkpoint.architectures import ARCHITECTURES, GPT2, find_architecture
from gpt2cli.checkpoint.derived_fields import LARGEST, MOST_LAYERS, Rotary
from gpt2cli.errors import CheckpointError, shown

# All that transformers accepts, except those with weights (prelu, xielu).
ACTIVATION_FUNCTIONS = (
    *("gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python"),
    *("gelu_python_tanh", "gelu_pytorch_tanh", "hardswish", "laplace", "leaky_relu", "linear"),
    *("mish", "quick_gelu", "relu", "relu2", "relu6", "sigmoid"),
    *("silu", "sqrtsoftplus", "swish", "tanh"),
)
# Fields that all families store as they are, most of them under GPT-2's names.
COMMON = (
    *("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner", "activation_function"),
    *("layer_norm_epsilon", "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"),
)
# Keys that describe the files of a model, not the model.
OF_THE_FILES = ("_name_or_path", "torch_dtype", "dtype", "transformers_version", "quantization_config")
SWITCHES = ("scale_attn_weights", "scale_attn_by_inverse_layer_idx", "tie_word_embeddings")


@dataclass(frozen=True)
class ModelConfig:
    """The settings of a checkpoint that the decoder needs; fields are named as in GPT-2's config.json.

    `n_kv_head` and `head_dim` follow from `n_head` and the width where they are None. `windows` has the
    number of positions that each layer's queries see, itself included, None for all, or is empty. `unbiased`
    are the roles without a bias although the family has one. `source` has all keys of the file.

    Raises:
        CheckpointError: a value has the wrong type, or the sizes do not fit together.
    """

    model_type: str = GPT2.model_type
    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    tie_word_embeddings: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    pad_token_id: int | None = None
    # All ids that end a text, where config.json has a list of them.
    eos_token_ids: tuple[int, ...] = ()
    n_kv_head: int | None = None
    head_dim: int | None = None
    rotary: Rotary | None = None
    windows: tuple[int | None, ...] = ()
    parallel_residual: bool = False
    unbiased: tuple[str, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._require(
            "a positive whole number", _is_count, "vocab_size", "n_positions", "n_embd", "n_layer", "n_head"
        )
        self._require(f"at most {MOST_LAYERS:,}", _is_layer_count, "n_layer")
        self._require("null or a width", _is_count_or_none, "n_inner", "head_dim")
        self._require("null or a positive whole number", _is_count_or_none, "n_kv_head")
        self._require("null or a token id", _is_id_or_none, "bos_token_id", "eos_token_id")
        self._require("a list of token ids", _are_ids, "eos_token_ids")
        self._require("true or false", lambda value: isinstance(value, bool), *SWITCHES)
        self._require("a number from 0 to 1", _is_small, "layer_norm_epsilon")
        if self.activation_function not in ACTIVATION_FUNCTIONS:
            raise CheckpointError(
                f"config.json: {self.key('activation_function')} {shown(self.activation_function)} "
                "is not supported.",
                f"Supported are {', '.join(ACTIVATION_FUNCTIONS)}.",
            )
        if self.head_dim is None and self.n_embd % self.n_head:
            self._refuse_multiple("n_embd", "n_head")
        if self.n_kv_head and self.n_head % self.n_kv_head:
            self._refuse_multiple("n_head", "n_kv_head")

    @cached_property
    def architecture(self) -> Architecture:
        return _architecture(self.model_type)

    @property
    def head_width(self) -> int:
        return self.head_dim or self.n_embd // self.n_head

    @property
    def kv_heads(self) -> int:
        """The number of heads of keys and values, which groups of queries share."""
        return self.n_kv_head or self.n_head

    @property
    def inner_width(self) -> int:
        return self.n_inner or 4 * self.n_embd

    def attention_scale(self, layer: int) -> float:
        """Return what the products of a layer's queries and keys are multiplied by."""
        scale = self.head_width**-0.5 if self.scale_attn_weights else 1.0
        return scale / (layer + 1) if self.scale_attn_by_inverse_layer_idx else scale

    def key(self, name: str) -> str:
        """Return what the family's config.json calls a field."""
        return _config_keys(self.architecture).get(name, name)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Build a config from the keys of config.json that matter, ignoring the others.

        Raises:
            CheckpointError: the model is of another architecture, or a value is invalid.
        """
        facts = _architecture(values.get("model_type", GPT2.model_type))
        for key, value in facts.fixed.items():
            if values.get(key, value) != value:
                raise CheckpointError(
                    f"config.json: {key} {shown(values[key])} is not supported, only {value!r} is."
                )
        stored = {name: values[key] for name, key in _config_keys(facts).items() if key in values}
        found = {
            **facts.defaults,
            **_renamed(values, facts.old_keys),
            **stored,
            **_renamed(values, facts.other_keys),
        }
        for name in ("bos_token_id", "eos_token_id"):
            # Some checkpoints list several end tokens. They were trained with the first.
            if isinstance(found.get(name), list):
                found[f"{name}s"] = tuple(found[name])
                found[name] = found[name][0] if found[name] else None
        found.pop("bos_token_ids", None)
        if not _is_id_or_none(found.get("pad_token_id")):
            # Nothing here pads with it, and some checkpoints have -1.
            found["pad_token_id"] = None
        found |= facts.derive({**values, **found})
        return cls(model_type=facts.model_type, **found, source=values)

    @classmethod
    def from_json(cls, path: Path) -> ModelConfig:
        """Read a config.json file.

        Raises:
            CheckpointError: the file is missing, is not a JSON object, or describes another architecture.
        """
        return cls.from_dict(read_json_object(path))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of a config.json for transformers, and for programs that read older keys."""
        facts = self.architecture
        read = type(self).from_dict(self.source)
        ours = {
            key: self._stored(name)
            for name, key in _config_keys(facts).items()
            if (key not in self.source or self._stored(name) != read._stored(name))
            # What follows from other keys may be missing, but null is another thing to some readers.
            and not (key not in self.source and name in facts.config_keys and self._stored(name) is None)
        }
        kept = {key: value for key, value in self.source.items() if key not in OF_THE_FILES}
        old = {key: self._stored(name) for key, name in facts.old_keys.items()}
        return {**kept, "architectures": [facts.model_class], "model_type": facts.model_type, **ours, **old}

    def _stored(self, name: str) -> Any:
        if name == "eos_token_id" and self.eos_token_ids:
            return list(self.eos_token_ids)
        # Not all that read them take null for what follows from other fields.
        followed = {"n_kv_head": self.kv_heads, "head_dim": self.head_width}
        return followed.get(name, getattr(self, name))

    def _refuse_multiple(self, name: str, divisor: str) -> NoReturn:
        number, of = getattr(self, name), getattr(self, divisor)
        raise CheckpointError(
            f"config.json: {self.key(name)} {number} is not a multiple of {self.key(divisor)} {of}."
        )

    def _require(self, kind: str, holds: Callable[[object], bool], *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not holds(value):
                raise CheckpointError(f"config.json: {self.key(name)} must be {kind}, not {shown(value)}.")


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint's JSON file.

    Raises:
        CheckpointError: the file is missing, or is not a JSON object.
    """
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is not a JSON object.")
    return values


def _config_keys(facts: Architecture) -> dict[str, str]:
    """Return the key in config.json of each field that is stored there as it is."""
    return {**{name: name for name in COMMON}, **facts.config_keys}


def _architecture(model_type: object) -> Architecture:
    architecture = find_architecture(model_type)
    if architecture is None:
        known = [f"{family.title} ({family.model_type})" for family in ARCHITECTURES]
        raise CheckpointError(
            f"config.json has model_type {shown(model_type)}, which is not supported.",
            f"Supported are {', '.join(known[:-1])} and {known[-1]}.",
        )
    return architecture


def _renamed(values: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    return {keys[key]: value for key, value in values.items() if key in keys}


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value <= LARGEST


def _is_layer_count(value: object) -> bool:
    return isinstance(value, int) and value <= MOST_LAYERS


def _is_count_or_none(value: object) -> bool:
    return value is None or _is_count(value)


def _is_id_or_none(value: object) -> bool:
    return value is None or (type(value) is int and value >= 0)


def _are_ids(values: object) -> bool:
    return isinstance(values, tuple) and all(type(value) is int and value >= 0 for value in values)


def _is_small(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
