"""A part of the lines for each of several processes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gpt2cli.errors import UsageError, shown

AUTO = "auto"
_NUMBER = re.compile(r"[0-9]{1,18}")
_SPELLED = re.compile(r"([0-9]{1,18})/([0-9]{1,18})")


@dataclass(frozen=True)
class Shard:
    """The lines `index`, `index` + `count` and so on, from 1."""

    index: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def has(self, line: int) -> bool:
        """Return whether a line belongs to this part."""
        return (line - self.index) % self.count == 0


def parse_shard(text: str, variables: Mapping[str, str]) -> Shard:
    """Read I/N; `auto` takes both from what torchrun or SLURM set for each process.

    Raises:
        UsageError: it is neither, I is not between 1 and N, or nothing is set.
    """
    if text == AUTO:
        return _from_launcher(variables)
    spelled = _SPELLED.fullmatch(text)
    shard = Shard(*map(int, spelled.groups())) if spelled else Shard(0)
    if not 1 <= shard.index <= shard.count:
        raise UsageError(f"`shard` must be I/N, such as 1/4, or {AUTO}, not {shown(text)}.")
    return shard


def _from_launcher(variables: Mapping[str, str]) -> Shard:
    numbers = {name: int(value) for name, value in variables.items() if _NUMBER.fullmatch(value)}
    if numbers.get("WORLD_SIZE"):
        return Shard(numbers.get("RANK", 0) + 1, numbers["WORLD_SIZE"])
    # A job array may have several processes for each of its tasks.
    tasks, processes = numbers.get("SLURM_ARRAY_TASK_COUNT", 1), numbers.get("SLURM_NTASKS", 1)
    if not {"SLURM_ARRAY_TASK_COUNT", "SLURM_NTASKS"} & numbers.keys():
        raise UsageError(
            f"`shard` is {AUTO}, but neither torchrun nor SLURM started this process.", "Give it as I/N."
        )
    step = numbers.get("SLURM_ARRAY_TASK_STEP", 1) or 1
    task = (numbers.get("SLURM_ARRAY_TASK_ID", 0) - numbers.get("SLURM_ARRAY_TASK_MIN", 0)) // step
    return Shard(task * processes + numbers.get("SLURM_PROCID", 0) + 1, tasks * processes)
