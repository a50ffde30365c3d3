"""llama.cpp, in a process of its own, on a GGUF file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import pytest

_Test = TypeVar("_Test", bound=Callable[..., None])


def needs_llama_cpp(test: _Test) -> _Test:
    """Mark a test that runs llama.cpp."""
    missing = find_spec("xllamacpp") is None
    skip = pytest.mark.skipif(missing, reason="xllamacpp, which holds llama.cpp, is not installed")
    marked: _Test = pytest.mark.system(skip(test))
    return marked


# Its threads spin while they wait for one another, so that there is one. Each request and answer is a line.
SERVE = """
import json, os, sys, urllib.request
import xllamacpp

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.n_ctx, parameters.n_parallel = int(sys.argv[2]), 1
parameters.warmup, parameters.verbosity = False, 0
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(parameters)
print(flush=True, file=answers)
for line in sys.stdin:
    path, body = json.loads(line)
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(), kind)
    print(json.dumps(json.load(urllib.request.urlopen(request))), flush=True, file=answers)
"""


class LlamaCpp:
    """A running llama.cpp."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Return the ids of a text, without a BOS token."""
        body = {"content": text, "add_special": False, "parse_special": special}
        ids: list[int] = self._ask("/tokenize", body)["tokens"]
        return ids

    def continue_greedily(self, prompt: str | Sequence[int], tokens: int) -> str:
        """Return the likeliest continuation of a prompt, or of its ids."""
        body = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "ignore_eos": True}
        text: str = self._ask("/completion", body)["content"]
        return text

    def next_logprobs(self, prompt: str, count: int) -> dict[int, float]:
        """Return the log-probabilities in nats of the likeliest next tokens by their ids."""
        body = {"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": count}
        (first,) = self._ask("/completion", body)["completion_probabilities"]
        return {entry["id"]: entry["logprob"] for entry in first["top_logprobs"]}

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([path, body]), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


@contextmanager
def llama_cpp(path: Path, context: int) -> Iterator[LlamaCpp]:
    """Run llama.cpp on a file."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(path), str(context)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "\n", "llama.cpp does not open the file"
        try:
            yield LlamaCpp(process)
        finally:
            process.kill()
