"""`gpt2 info`: versions, the default backend, and the cached models."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from backends import CPU_DEFAULT, needs_kernels
from conftest import Gpt2
from terminal import show

from gpt2cli import __version__
from gpt2cli.ops.threads import THREAD_VARIABLES, available_cores

CONFIG = json.dumps({"model_type": "gpt2"})


@pytest.fixture
def cached_bytes(environment: dict[str, str]) -> int:
    """Put one model into the cache and return the bytes of its files."""
    snapshot = Path(environment["HF_HOME"]) / "hub" / "models--someone--tales" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(CONFIG)
    (snapshot / "tokenizer.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(bytes(1000))
    return len(CONFIG) + 2 + 1000


def test_json_tells_versions_backend_and_cache(
    gpt2: Gpt2, environment: dict[str, str], cached_bytes: int
) -> None:
    done = gpt2("info", "--json")
    assert (done.returncode, done.stderr, done.stdout.count(b"\n")) == (0, b"", 1)
    facts = json.loads(done.stdout)
    assert facts["gpt2cli"] == __version__
    assert facts["python"] == sys.version.split()[0]
    for package in ("numpy", "torch", "tokenizers", "safetensors", "huggingface_hub"):
        assert facts[package] == version(package)
    assert (facts["backend"], facts["dtype"]) in [(CPU_DEFAULT, "float32"), ("torch", "float32")]
    assert facts["blas"].strip()
    assert facts["cores"] == available_cores()
    assert facts["cache"] == str(Path(environment["HF_HOME"]) / "hub")
    assert (facts["cached_models"], facts["cached_bytes"]) == (1, cached_bytes)


def test_a_pipe_gets_the_same_facts_as_lines(gpt2: Gpt2) -> None:
    facts = json.loads(gpt2("info", "--json").stdout)
    lines = gpt2("info").stdout.decode().splitlines()
    assert dict(line.split("\t") for line in lines) == {
        name: "none" if value is None else str(value) for name, value in facts.items()
    }


def test_a_terminal_gets_a_table(environment: dict[str, str]) -> None:
    shown = show(["info"], environment | {"TERM": "dumb"}, 80)
    assert "\t" not in shown
    assert ["gpt2cli", __version__] in [line.split() for line in shown.splitlines()]


def test_the_threads_that_the_user_set_are_told(gpt2: Gpt2) -> None:
    facts = json.loads(gpt2("info", "--json", env={"OMP_NUM_THREADS": "1"}).stdout)
    assert facts["threads"] in (1, None)


@needs_kernels
def test_the_kernels_and_their_threads_are_told(gpt2: Gpt2) -> None:
    facts = json.loads(gpt2("info", "--json", env=dict.fromkeys(THREAD_VARIABLES, "")).stdout)
    assert facts["kernels"] in ("amx", "avx512", "avxvnni", "avx2", "i8mm", "dotprod", "generic")
    if facts["backend"] == "compiled":
        assert facts["threads"] == available_cores()


def test_an_installation_without_kernels_says_so(gpt2: Gpt2, without_kernels: dict[str, str]) -> None:
    facts = json.loads(gpt2("info", "--json", env=without_kernels).stdout)
    assert facts["kernels"] == "none: built without a C compiler"
    assert facts["backend"] in ("numpy", "torch")
    lines = gpt2("info", env=without_kernels).stdout.decode().splitlines()
    assert lines.count("kernels\tnone: built without a C compiler") == 1
