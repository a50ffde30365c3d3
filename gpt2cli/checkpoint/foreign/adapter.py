"""LoRA adapters as PEFT saves them: their files and settings."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gpt2cli.checkpoint.config import read_json_object
from gpt2cli.errors import CheckpointError, shown

LORA = "LORA"
# Adapters of these types have no weights that could be added to those of a model.
PROMPTS = ("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT")
# Settings under which an adapter is more than the sum of its matrices and its base.
VARIANTS = (
    *("use_dora", "use_qalora", "use_bdlora", "layer_replication", "alora_invocation_tokens"),
    *("arrow_config", "kasa_config", "monteclora_config", "target_parameters", "trainable_token_indices"),
)
# With any other initialization the base is not the one that the adapter names.
INITIALIZATIONS = (True, False, None, "gaussian", "orthogonal", "eva")
MERGE_IT = "Merge it into its base with PEFT: merge_and_unload(), then save_pretrained()."


class AdapterFiles(NamedTuple):
    """The adapter_config.json of an adapter and its weights."""

    config: Path
    weights: Path


@dataclass(frozen=True)
class AdapterSettings:
    """What an adapter changes and by how much; `base` is the name of its base model.

    `alphas` has the alpha of the modules whose name a pattern matches.
    """

    base: str
    alpha: float
    alphas: Mapping[re.Pattern[str], float]
    by_root: bool

    def scale(self, module: str, rank: int) -> float:
        """Return the factor of an adapter of a module."""
        alphas = (alpha for pattern, alpha in self.alphas.items() if pattern.fullmatch(module))
        return next(alphas, self.alpha) / (math.sqrt(rank) if self.by_root else rank)


def read_adapter_settings(path: Path) -> AdapterSettings:
    """Read an adapter_config.json.

    Raises:
        CheckpointError: the file is missing, damaged, or describes another kind of adapter than plain LoRA.
    """
    values = read_json_object(path)
    kind = values.get("peft_type")
    if kind != LORA:
        hint = "It works with PEFT alone." if kind in PROMPTS else MERGE_IT
        raise CheckpointError(
            f"{path}: adapters of the type {shown(kind)} are not supported, only LoRA is.", hint
        )
    for name in VARIANTS:
        if values.get(name):
            raise CheckpointError(f"{path}: {name} is not supported.", MERGE_IT)
    start = values.get("init_lora_weights", True)
    if start not in INITIALIZATIONS:
        raise CheckpointError(f"{path}: init_lora_weights {shown(start)} changes the base model.", MERGE_IT)
    base, revision = values.get("base_model_name_or_path"), values.get("revision")
    if not isinstance(base, str) or not base:
        raise CheckpointError(
            f"{path} does not name the base model of its LoRA adapter.",
            "Set base_model_name_or_path in it to a folder or to OWNER/NAME.",
        )
    named = f"{base}@{revision}" if isinstance(revision, str) and not Path(base).exists() else base
    return AdapterSettings(
        named,
        _number(path, "lora_alpha", values.get("lora_alpha", 8)),
        _alphas(path, values.get("alpha_pattern") or {}),
        bool(values.get("use_rslora")),
    )


def _alphas(path: Path, patterns: object) -> dict[re.Pattern[str], float]:
    if not isinstance(patterns, dict):
        raise CheckpointError(f"{path}: alpha_pattern must be an object, not {shown(patterns)}.")
    try:
        return {
            re.compile(rf"(?:.*\.)?(?:{pattern})"): _number(path, "alpha_pattern", alpha)
            for pattern, alpha in patterns.items()
        }
    except re.error as error:
        raise CheckpointError(f"{path}: alpha_pattern is not a regular expression: {error}.") from error


def _number(path: Path, name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        # A whole number may be too large for a float.
        with suppress(OverflowError):
            if math.isfinite(number := float(value)):
                return number
    raise CheckpointError(f"{path}: {name} must be a number, not {shown(value)}.")
