"""A checkpoint ready to compute: its config, its weights and their backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.roles import TABLES
from gpt2cli.hub.reporter import Reporter
from gpt2cli.model.parts import Affine, Parts, arrange
from gpt2cli.ops.operations import A, Ops

if TYPE_CHECKING:
    from gpt2cli.hub.model_files import ModelFiles
    from gpt2cli.model.rotary import RotaryTable


@dataclass(frozen=True, eq=False, repr=False)
class Model(Generic[A]):
    """Everything a forward pass needs: the weights by canonical name, and the same weights as `parts`.

    `rotary` is None where positions are learned.
    """

    config: ModelConfig
    weights: Mapping[str, A]
    ops: Ops[A]
    parts: Parts[A] = field(init=False, repr=False, compare=False)
    rotary: RotaryTable[A] | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", arrange(self.weights, self.config.n_layer))
        if self.config.rotary:
            # GPT-2 starts without it.
            from gpt2cli.model.rotary import RotaryTable, rotary_frequencies

            frequencies = rotary_frequencies(self.config.rotary, self.config.head_width)
            object.__setattr__(self, "rotary", RotaryTable(self.ops, frequencies))

    def expect_many_rows(self) -> None:
        """Prepare for many requests at once, as `Ops.expect_many_rows` says."""
        from gpt2cli.model.free_memory import available_memory

        self.ops.expect_many_rows(available_memory)

    def normalize(self, norm: Affine[A] | None, x: A) -> A:
        """Return rows (batch, time, width) normalized as the family does, unchanged without a norm."""
        if norm is None:
            return x
        epsilon = self.config.layer_norm_epsilon
        if self.config.architecture.norm == "rms":
            return self.ops.rms_norm(x, norm.weight, epsilon)
        return self.ops.layer_norm(x, norm.weight, norm.bias, epsilon)

    def linear(
        self,
        projection: Affine[A],
        x: A,
        activation: str | None = None,
        residual: A | None = None,
        gate: A | None = None,
    ) -> A:
        """Return a projection of rows (batch, time, in), finished as `Ops.linear` says."""
        return self.ops.linear(x, projection.weight, projection.bias, activation, residual, gate)


def load_model(
    files: ModelFiles, ops: Ops[A], screened: bool = False, reporter: Reporter | None = None
) -> Model[A]:
    """Open a checkpoint on a backend; on numpy, float32 weights are used directly from the mapped file.

    A screened head, if the backend supports it, is faster when only the highest logits of a row are needed.

    Raises:
        CheckpointError: the files are damaged or inconsistent.
    """
    reporter = reporter or Reporter()
    config, stored = files.read_checkpoint(reporter.note)
    screens = screened and ops.uses_screens
    if ops.storage or screens or files.unpacked:
        # These modules import the kernels, which may be missing.
        from gpt2cli.checkpoint.conversion import convert, dequantize, screen_head
        from gpt2cli.hub.converted_files import conversion_place

        place = conversion_place(files.sources)
        if ops.storage:
            conversion = convert(stored, place, config, ops.storage)
            stored |= conversion.weights
            if conversion.problem:
                reporter.note(f"The converted weights could not be saved: {conversion.problem}.")
        if files.unpacked:
            conversion = dequantize(stored, place, config)
            stored |= conversion.weights
            if conversion.problem:
                reporter.note(f"The converted weights could not be saved: {conversion.problem}.")
        if screens:
            stored |= screen_head(stored, place, config, ops.storage)
    weights = {
        name: ops.table(tensor) if name in TABLES else ops.weight(tensor) for name, tensor in stored.items()
    }
    return Model(config, weights, ops)
