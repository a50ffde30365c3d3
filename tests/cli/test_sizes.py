"""Sizes of memory, as users write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoints import save_model_folder
from conftest import Gpt2

from gpt2cli.cli.options.shared import parse_size
from gpt2cli.errors import UsageError


@pytest.mark.parametrize(
    ("entry", "size"),
    [
        ("7", 7),
        ("500MB", 5 * 10**8),
        ("2GiB", 2**31),
        ("1.5g", 15 * 10**8),
        (" .5 kb ", 500),
        ("3Ti", 3 * 2**40),
    ],
)
def test_a_size_is_read_in_any_unit(entry: str, size: int) -> None:
    assert parse_size(entry) == size


@pytest.mark.parametrize("entry", ["", "0", "-1", "MB", "1e9", "nan", "5 apples", "0.1", "1,000"])
def test_what_is_no_size_is_refused(entry: str) -> None:
    with pytest.raises(UsageError, match="is not a size of memory"):
        parse_size(entry)


@pytest.mark.slow
def test_samples_wait_for_memory_and_one_that_never_fits_is_refused(gpt2: Gpt2, tmp_path: Path) -> None:
    save_model_folder(tmp_path)
    command = ("generate", "-m", tmp_path, "abc", "-n", "9", "-s", "1", "--num-samples", "3", "--kv-memory")
    # Positions of 3 layers with keys and values of 24 numbers, 12 for each sample.
    texts = [gpt2(*command, size).stdout for size in ("1GB", "8kB", "6KiB")]
    assert texts[0] == texts[1] == texts[2] != b""
    refused = gpt2(*command, "5kB")
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert b"positions; --kv-memory has room for 8. Raise --kv-memory, or ask for fewer" in refused.stderr
