"""The choices of where and how to compute, as one value."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt2cli.ops.operations import Ops


@dataclass(frozen=True)
class Compute:
    """Settings for the backend; see `open_backend`."""

    device: str = "auto"
    backend: str = "auto"
    dtype: str = "auto"
    quantize: str = "none"
    threads: int | None = None
    compile: bool = False

    def open(self, *, for_decoding: bool = False) -> Ops[Any]:
        """Open the backend.

        Raises:
            UsageError, Error: as `open_backend` does.
        """
        # A command that only prints its help, or asks a server, opens none.
        from gpt2cli.ops.backend import open_backend

        choices = asdict(self)
        compiled = choices.pop("compile")
        return open_backend(**choices, compiled=compiled, for_decoding=for_decoding)

    def in_float32(self) -> Compute:
        """Return the same choices with float32 weights and activations."""
        return replace(self, dtype="float32", quantize="none")
