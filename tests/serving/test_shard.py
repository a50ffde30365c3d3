"""Which lines each of several processes answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.errors import UsageError
from gpt2cli.serving.shard import Shard, parse_shard

ARRAY = {"SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_STEP": "5"}


@given(st.integers(1, 40), st.integers(1, 2000))
def test_every_line_belongs_to_one_shard(count: int, line: int) -> None:
    shards = [parse_shard(f"{index}/{count}", {}) for index in range(1, count + 1)]
    assert sum(shard.has(line) for shard in shards) == 1
    assert Shard().has(line)


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "1/0", "1", "-1/4", "a/b", "1/4/2", "", "1 /4", "1/" + "4" * 5000]
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"`shard` must be I/N, such as 1/4, or auto, not"):
        parse_shard(text, {})


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RANK": "0", "WORLD_SIZE": "4", "SLURM_NTASKS": "9"}, "1/4"),
        ({"SLURM_PROCID": "7", "SLURM_NTASKS": "8"}, "8/8"),
        (ARRAY | {"SLURM_ARRAY_TASK_ID": "10", "ELSEWHERE": "9" * 5000}, "1/3"),
        (ARRAY | {"SLURM_ARRAY_TASK_ID": "20"}, "3/3"),
        (ARRAY | {"SLURM_ARRAY_TASK_ID": "15", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, "4/6"),
    ],
)
def test_a_launcher_says_which_shard_it_started(variables: dict[str, str], expected: str) -> None:
    assert str(parse_shard("auto", variables)) == expected


def test_without_a_launcher_there_is_nothing_to_take() -> None:
    with pytest.raises(UsageError, match="neither torchrun nor SLURM started this process"):
        parse_shard("auto", {"RANK": "x", "WORLD_SIZE": "²"})
