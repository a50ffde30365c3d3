"""Decoding that PyTorch has compiled, which takes it a minute; it needs a C++ compiler."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from conftest import COMMAND

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def test_compiled_tokens_are_those_that_are_not(environment: dict[str, str]) -> None:
    def tokens(*options: str) -> Any:
        line = [*COMMAND, "generate", "Once upon a time", "-m", "stories", "-n", "20", "--num-samples", "2"]
        line += ["--seed", "3", "--device", "cpu", "--backend", "torch", "--json", *options]
        done = subprocess.run(line, env=environment, capture_output=True, check=True)
        return [json.loads(answer)["token_ids"] for answer in done.stdout.splitlines()]

    assert tokens("--compile") == tokens()
