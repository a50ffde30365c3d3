"""Rotary positions in GGUF files: keys of the header, and for LLaMA 3's scaling a tensor of factors."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.checkpoint.derived_fields import Rotary
from gpt2cli.checkpoint.gguf.families import GgufFamily
from gpt2cli.checkpoint.gguf.header import GgufHeader, damaged_gguf, unsupported_gguf
from gpt2cli.errors import shown

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# Wavelengths are multiplied by these.
FACTORS = "rope_freqs.weight"
WIDTH, BASE = "rope.dimension_count", "rope.freq_base"
SCALING, FACTOR = "rope.scaling.type", "rope.scaling.factor"
KNOWN = {None: "default", "none": "default", "linear": "linear"}
# LLaMA 3's scaling is the same if these and the original context change together.
LOW, HIGH = 1.0, 4.0
CLOSE = 1e-4


def described_rotary(rotary: Rotary, family: GgufFamily, head_width: int) -> dict[str, Any]:
    """Return the values for the header of a GGUF file that describe a rotation."""
    values: dict[str, Any] = {WIDTH: int(head_width * rotary.fraction), BASE: rotary.base}
    if rotary.scaling == "linear":
        values |= {SCALING: "linear", FACTOR: rotary.factor}
    return {family.key(name): value for name, value in values.items()}


def read_rotary(header: GgufHeader, family: GgufFamily, head_width: int) -> dict[str, Any]:
    """Return what a config.json says of the rotation that the header describes.

    Raises:
        CheckpointError: the scaling is not supported, or a value is of another kind.
    """
    if family.rotary_keys is None:
        return {}
    name = header.value(family.key(SCALING), str)
    if name not in KNOWN:
        hint = "Scalings that can be read are linear and LLaMA 3's."
        raise unsupported_gguf(header.path, f"scales rotary positions in the way {shown(name)}", hint)
    width = header.value(family.key(WIDTH), int) or head_width
    base = header.value(family.key(BASE), float) or Rotary().base
    if width > head_width or width % 2:
        raise damaged_gguf(header.path, f"{family.key(WIDTH)} is {width:,}")
    found: dict[str, Any] = dict(zip(family.rotary_keys, (width / head_width, _shortest(base)), strict=True))
    scaling: dict[str, Any] | None = None
    if KNOWN[name] == "linear":
        scaling = {"rope_type": "linear", "factor": _shortest(header.value(family.key(FACTOR), float) or 1.0)}
    if FACTORS in header.tensors and "llama3" in family.scalings:
        scaling = _llama3(header, base, width)
    return {**found, "rope_scaling": scaling} if scaling else found


def frequency_factors(rotary: Rotary, head_width: int) -> Array:
    """Return by what LLaMA 3's scaling multiplies each wavelength, (rotated / 2,)."""
    wavelengths = _wavelengths(rotary.base, int(head_width * rotary.fraction))
    low, high, context = rotary.low_frequency_factor, rotary.high_frequency_factor, rotary.original_context
    share = np.clip((context / wavelengths - low) / (high - low), 0, 1)
    factors: Array = (1 / ((1 - share) / rotary.factor + share)).astype(np.float32)
    return factors


def _llama3(header: GgufHeader, base: float, width: int) -> dict[str, Any] | None:
    """Return the scaling with the factors that a file holds, or None if they change nothing."""
    entry = header.tensors[FACTORS]
    if entry.kind.name != "F32" or entry.shape != (width // 2,):
        raise damaged_gguf(header.path, f"{FACTORS} is {entry.kind.name} of the shape {list(entry.shape)}")
    factors = np.frombuffer(header.data, "<f4", width // 2, entry.begin).astype(np.float64)
    if np.array_equal(factors, np.ones_like(factors)):
        return None
    with np.errstate(all="ignore"):
        rotary = _fitting(factors, _wavelengths(base, width), base)
        expected = frequency_factors(rotary, width) if rotary else np.zeros_like(factors)
        if rotary is None or not (np.abs(expected / factors - 1) < CLOSE).all():
            raise unsupported_gguf(
                header.path, f"has a {FACTORS} that is not LLaMA 3's", "No other can be read."
            )
    return {
        "rope_type": "llama3",
        "factor": rotary.factor,
        "low_freq_factor": rotary.low_frequency_factor,
        "high_freq_factor": rotary.high_frequency_factor,
        "original_max_position_embeddings": rotary.original_context,
    }


def _fitting(factors: Array, wavelengths: Array, base: float) -> Rotary | None:
    factor = _shortest(float(factors.max()))
    if not 1 < factor < math.inf:
        return None
    # Between the two ends, the share is a linear function of the frequency.
    shares = (1 / factors - 1 / factor) / (1 - 1 / factor)
    between = (shares > CLOSE) & (shares < 1 - CLOSE)
    high = HIGH
    if between.sum() > 1:
        slope, start = np.polyfit(1 / wavelengths[between], shares[between], 1)
        high = round(LOW - LOW / start, 3)
        context = -slope / start * LOW
    elif between.any():
        context = float((shares * (HIGH - LOW) + LOW)[between][0] * wavelengths[between][0])
    else:
        kept = wavelengths[shares >= 1 - CLOSE]
        context = HIGH * float(kept.max()) + 1 if kept.size else 1.0
    if not (LOW < high < math.inf and 0.5 < context < math.inf):
        return None
    return Rotary(1.0, base, "llama3", factor, LOW, high, round(context))


def _wavelengths(base: float, width: int) -> Array:
    wavelengths: Array = 2 * math.pi * np.float64(base) ** (np.arange(0, width, 2) / width)
    return wavelengths


def _shortest(number: float) -> float:
    """Return the shortest number that is stored in 32 bits as this one is."""
    return float(str(np.float32(number)))
