"""Every measure of `gpt2 bench` on many prompts, with the other programs that take it."""

from __future__ import annotations

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from checkpoints import save_model_folder
from conftest import COMMAND

import gpt2cli

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

MANY = ("prompts", "shared", "unshared")
LIBRARIES = {"ctranslate2": "ctranslate2", "llama.cpp": "xllamacpp"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench-measures")
    save_model_folder(folder, n_positions=1024, n_layer=2, n_embd=64)
    gpt2cli.export(str(folder), folder / "f32.gguf", type="f32")
    return folder


def measures(environment: dict[str, str], checkpoint: Path, *arguments: str) -> dict[str, dict[str, float]]:
    """Return the medians of each engine."""
    sizes = ("--rounds", "1", "--prompts", "6", "--clients", "4", "-n", "100", "--threads", "2")
    words = [*COMMAND, "bench", "-m", str(checkpoint), *sizes, "--json", *arguments]
    done = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["left_out"] == {}
    return {
        engine["engine"]: {name: each["median"] for name, each in engine["measures"].items()}
        for engine in report["engines"]
    }


@pytest.mark.parametrize(
    ("peer", "names"),
    [
        ("processes", ("prompts",)),
        ("ctranslate2", MANY),
        ("llama.cpp", (*MANY, "server")),
    ],
)
def test_others_take_the_measures(
    environment: dict[str, str], checkpoint: Path, peer: str, names: tuple[str, ...]
) -> None:
    if peer in LIBRARIES and find_spec(LIBRARIES[peer]) is None:
        pytest.skip(f"{LIBRARIES[peer]} is not installed")
    found = measures(environment, checkpoint, "--only", ",".join(names), "--against", peer)
    for engine in ("gpt2cli", peer):
        assert tuple(found[engine]) == names
        assert all(value > 0 for value in found[engine].values())


def test_a_server_and_lines_are_measured(environment: dict[str, str], checkpoint: Path) -> None:
    found = measures(environment, checkpoint, "--only", "jsonl,server,gap")["gpt2cli"]
    assert list(found) == ["jsonl", "server", "gap"]
    assert all(value > 0 for value in found.values())


def test_one_and_several_workers_of_a_cluster_are_measured(
    environment: dict[str, str], checkpoint: Path
) -> None:
    pytest.importorskip("ray")
    found = measures(environment, checkpoint, "--only", "worker,cluster")["gpt2cli"]
    assert list(found) == ["worker", "cluster"]
    assert all(value > 0 for value in found.values())
