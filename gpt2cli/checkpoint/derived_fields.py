"""Fields of a model's config that families describe in their own ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from gpt2cli.checkpoint.roles import ATTENTION, MLP
from gpt2cli.errors import CheckpointError, shown

Values = Mapping[str, Any]
SCALINGS = ("default", "linear", "llama3")
# Far more layers than any model has.
MOST_LAYERS = 10_000
# Sizes beyond are of no model, and products of several would not fit a machine's numbers.
LARGEST = (1 << 31) - 1
FLOAT32_MOST = 3e38
ALTERNATING = [[["global", "local"], 12]]


class Rotary(NamedTuple):
    """How queries and keys are rotated by their positions (Su et al., "RoFormer", 2021).

    `fraction` is the part of each head that is rotated, and `base` the base of the wavelengths. The scaling
    is `default` for none, `linear`, which divides positions by `factor` (Chen et al., "Position
    Interpolation", 2023), or `llama3`, which divides the frequencies alone that turn less than
    `low_frequency_factor` times in `original_context` positions, and keeps those that turn more than
    `high_frequency_factor` times.
    """

    fraction: float = 1.0
    base: float = 10_000.0
    scaling: str = "default"
    factor: float = 1.0
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_context: int = 8192


def gpt1_fields(values: Values) -> dict[str, Any]:
    # Its "gelu" is the approximation by tanh.
    activation = values.get("afn", "gelu")
    return {"activation_function": "gelu_new" if activation == "gelu" else activation, "n_inner": None}


def neo_fields(values: Values) -> dict[str, Any]:
    layers = values.get("n_layer")
    types = _attention_types(values)
    if len(types) != layers:
        raise CheckpointError(
            f"config.json: attention_types has {len(types)} layers, but num_layers is {shown(layers)}."
        )
    window = {"window_size": values.get("window_size", 256)}
    return {
        "windows": layer_windows(window, layers, lambda number: types[number] == "local"),
        "scale_attn_weights": False,
    }


def neox_fields(values: Values) -> dict[str, Any]:
    return {
        "rotary": rotary({"rotary_pct": 0.25, **values}, "rotary_pct", "rotary_emb_base"),
        "parallel_residual": values.get("use_parallel_residual", True),
        "unbiased": () if values.get("attention_bias", True) else tuple(sorted(ATTENTION)),
    }


def llama_fields(values: Values) -> dict[str, Any]:
    biased = (ATTENTION if values.get("attention_bias") else frozenset()) | (
        MLP if values.get("mlp_bias") else frozenset()
    )
    return {"rotary": rotary(values), "unbiased": tuple(sorted((ATTENTION | MLP) - biased))}


def mistral_fields(values: Values) -> dict[str, Any]:
    window = {"sliding_window": values.get("sliding_window", 4096)}
    return {"rotary": rotary(values), "windows": layer_windows(window, values.get("n_layer"), lambda _: True)}


def qwen_fields(values: Values) -> dict[str, Any]:
    listed = values.get("layer_types") or []
    if not isinstance(listed, list):
        raise CheckpointError(f"config.json: layer_types must be a list, not {shown(listed)}.")
    types: Mapping[int, str] = dict(enumerate(listed))
    window = (
        {"sliding_window": values.get("sliding_window", 4096)} if values.get("use_sliding_window") else {}
    )
    first = values.get("max_window_layers", 28)
    if not isinstance(first, int):
        raise CheckpointError(f"config.json: max_window_layers must be a whole number, not {shown(first)}.")
    return {
        "rotary": rotary(values),
        "windows": layer_windows(
            window,
            values.get("n_layer"),
            lambda number: types[number] == "sliding_attention" if number in types else number >= first,
        ),
    }


def rotary(
    values: Values, fraction_key: str = "partial_rotary_factor", base_key: str = "rope_theta"
) -> Rotary:
    """Return the rotation that a config.json asks for, in the current keys or in older ones.

    Raises:
        CheckpointError: the scaling is unknown, or a value is not a number.
    """
    scaling = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(scaling, Mapping):
        raise CheckpointError(f"config.json: rope_scaling must be an object, not {shown(scaling)}.")
    merged = {**values, **scaling}
    kind = merged.get("rope_type") or scaling.get("type") or "default"
    if kind not in SCALINGS:
        raise CheckpointError(
            f"config.json: rotary scaling {shown(kind)} is not supported.",
            f"Supported are {', '.join(SCALINGS)}.",
        )
    defaults = Rotary()
    return Rotary(
        _number(merged, ("partial_rotary_factor", fraction_key), defaults.fraction, most=1.0),
        _number(merged, ("rope_theta", base_key), defaults.base),
        kind,
        _number(merged, ("factor",), defaults.factor),
        _number(merged, ("low_freq_factor",), defaults.low_frequency_factor),
        _number(merged, ("high_freq_factor",), defaults.high_frequency_factor),
        int(
            _number(
                merged,
                ("original_max_position_embeddings", "n_positions"),
                defaults.original_context,
                most=LARGEST,
            )
        ),
    )


def layer_windows(values: Values, layers: object, is_local: Callable[[int], bool]) -> tuple[int | None, ...]:
    """Return the attention window of each layer, None where it sees all, from a predicate of its number.

    Raises:
        CheckpointError: the window is not a positive whole number.
    """
    window = values.get("sliding_window", values.get("window_size"))
    # A wrong number of layers is reported with the other sizes.
    if window is None or type(layers) is not int or not 0 < layers <= MOST_LAYERS:
        return ()
    if type(window) is not int or not 0 < window <= LARGEST:
        raise CheckpointError(
            f"config.json: the attention window must be a positive number, not {shown(window)}."
        )
    return tuple(window if is_local(number) else None for number in range(layers))


def _attention_types(values: Values) -> list[str]:
    layers: Any = values.get("attention_layers")
    if isinstance(layers, list):
        return layers
    groups: Any = values.get("attention_types") or ALTERNATING
    try:
        kinds_in_turn = (kind for kinds, count in groups for _ in range(count) for kind in kinds)
        return list(islice(kinds_in_turn, MOST_LAYERS + 1))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"config.json: attention_types cannot be {shown(groups)}.") from error


def _number(values: Values, keys: tuple[str, ...], default: float, most: float = FLOAT32_MOST) -> float:
    value = next((values[key] for key in keys if values.get(key) is not None), default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= most:
        limit = f" of at most {most:g}" if most < FLOAT32_MOST else ""
        raise CheckpointError(f"config.json: {keys[0]} must be a positive number{limit}, not {shown(value)}.")
    return float(value)
