"""Data parallelism: the processes that torchrun started, or this one alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from gpt2cli.errors import Error

# A process that ends is noticed at once. This bounds how long the first one may take to read the texts.
LONGEST_WAIT = timedelta(hours=2)


class Ranks:
    """The processes of a job, numbered from 0, and sums over them."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, all of one type, by its sum over all processes.

        Raises:
            Error: another process ended.
        """
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        _together(lambda: dist.all_reduce(flat))
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def leave(self) -> None:
        """Disconnect from the other processes."""
        if self.count > 1:
            dist.destroy_process_group()


def join_ranks(device: str, rank: int, count: int) -> Ranks:
    """Connect to the other processes of the job, and wait for all of them.

    Raises:
        Error: they do not answer.
    """
    if count > 1:
        backend = "nccl" if device.startswith("cuda") else "gloo"
        _together(lambda: dist.init_process_group(backend, timeout=LONGEST_WAIT))
    return Ranks(rank, count)


def _together(operation: Callable[[], object]) -> None:
    try:
        operation()
    except RuntimeError as error:
        raise Error(
            "Another process of this job ended, so this one cannot go on.",
            "Start the job again with `resume`.",
        ) from error
