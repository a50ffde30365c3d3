"""Decoding that PyTorch has compiled, which takes it a minute; it needs a C++ compiler."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import Gpt2

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def test_compiled_tokens_are_those_that_are_not(gpt2: Gpt2) -> None:
    def tokens(*options: str) -> Any:
        line = ("generate", "Once upon a time", "-m", "stories", "-n", "20", "--num-samples", "2")
        done = gpt2(*line, "--seed", "3", "--device", "cpu", "--backend", "torch", "--json", *options)
        assert done.returncode == 0, done.stderr
        return [json.loads(answer)["token_ids"] for answer in done.stdout.splitlines()]

    assert tokens("--compile") == tokens()
