"""What a family of models has in common, and how its files name weights and sizes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from gpt2cli.checkpoint.roles import layer_of, role_of

Values = Mapping[str, Any]

NONE: Mapping[str, Any] = MappingProxyType({})


# Every start makes it, and a dataclass of this many fields takes five times as long to make.
class Architecture(NamedTuple):
    """The facts that a family of decoders shares, in the words of its papers, and its files' layout.

    `norm_after` means that a norm follows the residual instead of opening the sub-block. `learned_positions`
    are a table, in which `position_offset` rows precede the first position; other families rotate queries and
    keys. A gated MLP multiplies its inner layer by an activated gate.

    `weight_names` has the name of each role, with {layer} for the number of a layer; queries, keys and values
    are fused or separate as it says, and `fused_by_head` interleaves them head by head. Matrices lie as
    (in, out) or `out_in`. `biased` are the roles of the matrices that have a bias. Files of a model without
    its head omit `prefix`. `buffers` is a pattern of the bare names of tensors that are not weights, and
    `extras` one of weights that a language model does not use; its group is what they are called.

    `config_keys` has the key in config.json of each field of `ModelConfig`, `other_keys` other keys that
    transformers reads and their fields, and `old_keys` keys of older files, which count only where the
    current one is missing. `defaults` has the fields' values where config.json is silent, `fixed` the only
    values of keys that the decoder supports, and `derive` returns fields that take more than a new name.
    """

    title: str
    paper: str
    model_type: str
    model_class: str
    tokenizer_class: str
    prefix: str
    weight_names: Mapping[str, str]
    config_keys: Mapping[str, str]
    other_keys: Mapping[str, str] = NONE
    old_keys: Mapping[str, str] = NONE
    defaults: Values = NONE
    fixed: Values = NONE
    derive: Callable[[Values], dict[str, Any]] = lambda values: {}
    norm: Literal["layer", "rms"] = "layer"
    norm_after: bool = False
    learned_positions: bool = True
    position_offset: int = 0
    out_in: bool = True
    fused_by_head: bool = False
    biased: frozenset[str] = frozenset()
    buffers: str = "(?!)"
    extras: str = "(?!)()"

    @property
    def gated(self) -> bool:
        """Whether the MLP has a gate."""
        return "mlp_gate" in self.weight_names

    @property
    def fused(self) -> bool:
        """Whether one matrix makes queries, keys and values."""
        return "attention_qkv" in self.weight_names

    def full_name(self, name: str) -> str:
        """Return the name that files of the whole model give a weight, from its canonical name."""
        kind = name.rpartition(".")[2]
        return f"{self.weight_names[role_of(name)].format(layer=layer_of(name))}.{kind}"

    def bare_name(self, name: str) -> str:
        """Return the name that files of the model without its head give a weight, from its canonical name."""
        return self.full_name(name).removeprefix(self.prefix)

    def layer_in(self, bare_name: str) -> int | None:
        """Return the number of the layer in a bare name, or None if the name is outside the layers."""
        within = (name for name in self.weight_names.values() if "{layer}" in name)
        before = {name.partition("{layer}")[0].removeprefix(self.prefix) for name in within}
        found = re.match(f"(?:{'|'.join(map(re.escape, before))})([0-9]{{1,9}})\\.", bare_name)
        return int(found[1]) if found else None
