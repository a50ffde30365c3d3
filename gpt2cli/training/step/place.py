"""Where training computes: a device, alone or as one of the processes that torchrun started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
        """Take the numbers that torchrun gave, if it did."""
        environ = os.environ
        local_rank, count = int(environ.get("LOCAL_RANK", 0)), int(environ.get("WORLD_SIZE", 1))
        return cls(device, threads, process_rank(), local_rank, count)

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
    """Return this process's number among those that torchrun started, 0 for the first or the only one."""
    return int(os.environ.get("RANK", 0))
