"""Where `gpt2 train` computes, alone or as one of the processes that torchrun started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt2cli.ops.operations import Ops


@dataclass(frozen=True)
class Place:
    """Tell the device that was asked for, its threads, and this process's number in the job."""

    device: str
    threads: int | None
    rank: int
    local_rank: int
    count: int

    @classmethod
    def of_this_process(cls, device: str, threads: int | None) -> Place:
        """Take the numbers that torchrun gave, if it did."""
        environ = os.environ
        rank, local_rank = int(environ.get("RANK", 0)), int(environ.get("LOCAL_RANK", 0))
        return cls(device, threads, rank, local_rank, int(environ.get("WORLD_SIZE", 1)))

    def open(self) -> Ops[Any]:
        """Return the operations of the device; each process of a job has a GPU of its own.

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
