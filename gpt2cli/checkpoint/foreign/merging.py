"""The weights of a base model with a LoRA adapter merged into them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.foreign.adapter import AdapterFiles, AdapterSettings, read_adapter_settings
from gpt2cli.checkpoint.foreign.misfit import FLOATS
from gpt2cli.checkpoint.foreign.stored_names import SortedNames, StoredNames, few
from gpt2cli.checkpoint.roles import HEAD, TOKEN_EMBEDDING
from gpt2cli.checkpoint.weights import Note, drop_repeated_head, expected_shapes, no_note, read_tensors
from gpt2cli.errors import CheckpointError
from gpt2cli.ops.numpy_ops import widen
from gpt2cli.ops.operations import StoredTensor

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Tensors: TypeAlias = Mapping[str, StoredTensor]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

# A module, one of its two factors, perhaps the name of the adapter in memory, and weight or bias.
LORA_NAME = re.compile(r"(.+)\.lora_(?:embedding_)?([AB])(?:\.(?!weight$|bias$)[^.]+)?(?:\.(weight|bias))?")
WEIGHT, BIAS = ".weight", ".bias"


@dataclass
class _Factors:
    """The factors of what an adapter adds to a module: A (rank, in), B (out, rank), and the bias of B."""

    module: str
    arrays: dict[str, Array] = field(default_factory=dict)

    def product(self, name: str, settings: AdapterSettings) -> Array:
        """Return what is added to the weight with a canonical name; all but the head are (in, out)."""
        down, up = self.arrays["A"], self.arrays["B"]
        product = settings.scale(self.module, len(down)) * (up @ down)
        return product if name == HEAD else product.T

    def fit(self, name: str, shape: tuple[int, ...]) -> bool:
        """Return whether the product has the shape of the weight, and a bias its width."""
        shapes = {part: array.shape for part, array in self.arrays.items()}
        down, up = shapes.get("A", ()), shapes.get("B", ())
        if len(down) != 2 or len(up) != 2 or not 0 < down[0] == up[1]:
            return False
        ends = (up[0], down[1]) if name == HEAD else (down[1], up[0])
        return ends == shape and shapes.get(BIAS, up[:1]) == up[:1]


class _Adapter:
    """The tensors of an adapter: whole weights by canonical name, and factors by the weight they change."""

    def __init__(self, names: StoredNames, tensors: Tensors) -> None:
        plain = _plainly_named(tensors)
        self.foreign = [name for name, tensor in plain.items() if tensor.dtype not in FLOATS]
        self.names: SortedNames = names.sort(name for name in plain if not LORA_NAME.fullmatch(name))
        self.whole = {canonical: plain[name] for canonical, name in self.names.weights.items()}
        self.factors: dict[str, _Factors] = {}
        for name, tensor in plain.items():
            if match := LORA_NAME.fullmatch(name):
                self._take(names, match, tensor)

    def problems(self, shapes: Shapes) -> Iterator[str]:
        """Yield what does not fit weights of these shapes."""
        yield from (f"{name} is not in it" for name in (*self.names.unknown, *self.names.repeated))
        yield from (f"{name} is not a float" for name in self.foreign)
        for name, tensor in self.whole.items():
            if tensor.shape != shapes[name]:
                yield f"{self.names.weights[name]} has shape {list(tensor.shape)}, not {list(shapes[name])}"
        for name, factors in self.factors.items():
            if BIAS in factors.arrays and name.removesuffix(WEIGHT) + BIAS not in shapes:
                yield f"{factors.module} has no bias for the one of lora_B"
            elif not factors.fit(name, shapes[name]):
                yield f"lora_A and lora_B of {factors.module} do not fit {list(shapes[name])}"

    def _take(self, names: StoredNames, match: re.Match[str], tensor: StoredTensor) -> None:
        module, letter, kind = match.groups()
        stored = names.unwrap(module, WEIGHT)
        canonical = names.canonical.get(stored.bare + WEIGHT)
        if canonical is None:
            self.names.unknown.append(module)
            return
        factors = self.factors.setdefault(canonical, _Factors(module.removeprefix(stored.wrapper)))
        factors.arrays[BIAS if kind == "bias" else letter] = widen(tensor.array)


def adapted_config(config: ModelConfig, adapter: AdapterFiles) -> ModelConfig:
    """Return the config of a base model with the vocabulary of an adapter, which may have enlarged it.

    Raises:
        CheckpointError: the adapter's weights are damaged.
    """
    tensors = _plainly_named(read_tensors(adapter.weights))
    found = StoredNames(config.architecture, (TOKEN_EMBEDDING,)).sort(tensors)
    embedding = tensors.get(found.weights.get(TOKEN_EMBEDDING, ""))
    return replace(config, vocab_size=embedding.shape[0]) if embedding and embedding.shape else config


def merge_adapter(
    base: Tensors, config: ModelConfig, files: AdapterFiles, note: Note = no_note
) -> dict[str, StoredTensor]:
    """Return the weights of a base model with an adapter merged; matrices that it changes are float32.

    Of an embedding and a head that the base ties, an adapter may change one only, as in its training. The
    config is the one that `adapted_config` returns.

    Raises:
        CheckpointError: the adapter is damaged, of an unsupported kind, or does not fit the base.
    """
    settings = read_adapter_settings(files.config)
    shapes = expected_shapes(config) | {HEAD: (config.vocab_size, config.n_embd)}
    adapter = _Adapter(StoredNames(config.architecture, shapes), read_tensors(files.weights))
    merged = dict(base)
    if {HEAD, TOKEN_EMBEDDING} & {*adapter.whole, *adapter.factors}:
        merged.setdefault(HEAD, base[TOKEN_EMBEDDING])
    merged |= adapter.whole
    problems = list(adapter.problems(shapes))
    if HEAD in merged and HEAD not in adapter.whole and merged[HEAD].shape != shapes[HEAD]:
        tokens = merged[HEAD].shape[0]
        problems.append(f"the embedding has {config.vocab_size:,} tokens and the head {tokens:,}")
    if problems:
        raise CheckpointError(
            f"{files.weights} does not fit its base model {settings.base}: {few(problems)}.",
            f"Set base_model_name_or_path in {files.config} to the model that it was trained on.",
        )
    if adapter.names.extras:
        extras = few(adapter.names.extras)
        note(f"{files.weights}: leaving out {extras}, which a language model does not use.")
    for name, factors in adapter.factors.items():
        merged[name] = _sum(merged[name], factors.product(name, settings))
        if BIAS in factors.arrays:
            bias = name.removesuffix(WEIGHT) + BIAS
            rank = len(factors.arrays["A"])
            merged[bias] = _sum(merged[bias], settings.scale(factors.module, rank) * factors.arrays[BIAS])
    drop_repeated_head(merged)
    return merged


def _plainly_named(tensors: Tensors) -> Tensors:
    """Return the tensors of an adapter without what PEFT puts into the name of a weight that is adapted."""
    return {name.replace(".base_layer.", "."): tensor for name, tensor in tensors.items()}


def _sum(tensor: StoredTensor, addition: Array) -> StoredTensor:
    return StoredTensor("F32", np.add(widen(tensor.array), addition, dtype=np.float32, order="C"))
