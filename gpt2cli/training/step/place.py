"""Where training computes: a device, alone or as one of the processes that torchrun started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpt2cli.errors import UsageError

if TYPE_CHECKING:
    from gpt2cli.ops.operations import Ops


@dataclass(frozen=True)
class Place:
    """A device, its threads, and this process's number among those of the job."""

    device: str
    threads: int | None
    rank: int
    local_rank: int
    count: int

    @classmethod
    def of_this_process(cls, device: str, threads: int | None) -> Place:
        """Take the numbers that torchrun gave, if it did.

        Raises:
            UsageError: one is no number.
        """
        return cls(device, threads, process_rank(), _number("LOCAL_RANK", 0), _number("WORLD_SIZE", 1))

    def open(self) -> Ops[Any]:
        """Return the operations of the device; each process of a job takes a separate GPU.

        Raises:
            UsageError, Error: as `backend.open_backend` does.
        """
        from gpt2cli.ops.backend import cuda_is_usable, open_backend

        device = self.device
        if device == "auto":
            device = "cuda" if cuda_is_usable() else "cpu"
        if device == "cuda" and self.count > 1:
            device = f"cuda:{self.local_rank}"
        return open_backend(device, "torch", "float32", self.threads)


def process_rank() -> int:
    """Return this process's number among those that torchrun started, 0 for the first or the only one.

    Raises:
        UsageError: it is no number.
    """
    return _number("RANK", 0)


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"{variable}={text} is not a number.", "torchrun sets it; elsewhere, unset it.")
    return int(text)
