"""The explanation of weights that do not fit the config."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.foreign.stored_names import SortedNames, few
from gpt2cli.checkpoint.roles import (
    HEAD,
    LAYERS,
    POSITION_EMBEDDING,
    TOKEN_EMBEDDING,
    is_layer_matrix,
    layer_of,
)
from gpt2cli.errors import CheckpointError
from gpt2cli.ops.operations import StoredTensor

Shapes = Mapping[str, tuple[int, ...]]
FLOATS = {"F32", "F16", "BF16", "F64"}
# The axis of a weight that has a size of the config.
SIZES = {
    "vocab_size": (TOKEN_EMBEDDING, 0),
    "n_embd": (TOKEN_EMBEDDING, 1),
    "n_positions": (POSITION_EMBEDDING, 0),
}
INNER = (f"{LAYERS}0.mlp_in.weight", 1)
UNMERGED = re.compile(r"\.lora_|\.base_layer\.")
OTHER_CONFIG = "Use the config.json that belongs to these weights, or correct this one."


def find_misfit(
    where: str, names: SortedNames, stored: Mapping[str, StoredTensor], shapes: Shapes, config: ModelConfig
) -> CheckpointError | None:
    """Return the error that says how weights differ from what the config asks for, or None if they fit."""
    bare = config.architecture.bare_name
    is_out_in = config.architecture.out_in

    def in_file(name: str, shape: tuple[int, ...]) -> list[int]:
        return list(shape[::-1] if is_out_in and is_layer_matrix(name, shape) else shape)

    missing = [bare(name) for name in shapes if name not in stored]
    misshapen = [name for name, shape in shapes.items() if name in stored and stored[name].shape != shape]
    foreign = [name for name in shapes if name in stored and stored[name].dtype not in FLOATS]
    if not (missing or misshapen or foreign or names.unknown or names.repeated):
        return None
    if len(missing) == len(shapes):
        return CheckpointError(
            f"{where} has no weights of a {config.model_type} model: "
            f"it has {few([*names.unknown, *names.extras.values()]) or 'none'}.",
            "They may belong to another architecture, whose names differ.",
        )
    if missing == [bare(HEAD)] and not (misshapen or foreign or names.unknown or names.repeated):
        return CheckpointError(
            f"{where} has no head ({bare(HEAD)}), and its config.json does not tie one to the embedding.",
            f"Use a {config.architecture.model_class}: this is a model without its head, or of another task.",
        )
    problems = list(_other_sizes(names, stored, config)) or [
        *(
            f"{bare(name)} has shape {in_file(name, stored[name].shape)}, not {in_file(name, shapes[name])}"
            for name in misshapen
        ),
        *(f"{bare(name)} is stored as {stored[name].dtype}, which is not supported" for name in foreign),
        *(f"{name} is missing" for name in missing),
        *(f"{name} is unexpected" for name in names.unknown),
        *(f"{name} is stored twice" for name in names.repeated),
    ]
    hint = OTHER_CONFIG
    if any(map(UNMERGED.search, names.unknown)):
        hint = "A LoRA adapter is not merged into them: with PEFT, save what merge_and_unload() returns."
    elif foreign:
        hint = "Save them in float32, float16 or bfloat16, without quantization."
    elif misshapen and all(stored[name].shape == shapes[name][::-1] for name in misshapen):
        layout = "(out, in)" if is_out_in else "(in, out)"
        hint = f"Their matrices are transposed: save them as {layout}, as transformers does."
    return CheckpointError(f"{where} does not match its config.json: {few(problems)}.", hint)


def _other_sizes(
    names: SortedNames, stored: Mapping[str, StoredTensor], config: ModelConfig
) -> Iterator[str]:
    """Yield each size of the config that the weights have otherwise, which explains many other problems."""
    sizes = {size: (place, getattr(config, size)) for size, place in SIZES.items()}
    layers = [layer_of(name) for name in stored]
    layers += [config.architecture.layer_in(name) for name in names.unknown]
    named = {
        "n_layer": (1 + max((layer for layer in layers if layer is not None), default=-1), config.n_layer)
    }
    sizes |= {"n_inner": (INNER, config.inner_width)}
    for size, ((name, axis), expected) in sizes.items():
        shape = stored[name].shape if name in stored else ()
        # The inner width follows from the width if config.json is silent.
        if len(shape) == 2 and (size != "n_inner" or shape[0] == config.n_embd):
            before = config.architecture.position_offset if name == POSITION_EMBEDDING else 0
            named[size] = (shape[axis] - before, expected)
    for size, (found, expected) in named.items():
        if found != expected:
            yield f"{config.key(size)} is {expected} there and {found} in the weights"
