"""How a model is asked to compute, said in one place for every process of a benchmark."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from gpt2cli.ops.backend import open_backend
from gpt2cli.ops.operations import Ops


@dataclass(frozen=True)
class Compute:
    """Hold the choices of `open_backend`; each is also an option of the command line, by the same name."""

    device: str = "auto"
    backend: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    quantize: str = "none"

    def open(self) -> Ops[Any]:
        """Open the backend.

        Raises:
            UsageError, Error: as `open_backend` does.
        """
        return open_backend(**asdict(self))

    def arguments(self) -> list[str]:
        """Return the options that ask a command for the same."""
        chosen = {name: value for name, value in asdict(self).items() if value is not None}
        return [word for name, value in chosen.items() for word in (f"--{name}", str(value))]

    def in_float32(self) -> Compute:
        """Return the same, computing in the type that others are judged by."""
        return replace(self, dtype="float32", quantize="none")
