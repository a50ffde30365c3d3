"""A real Ray cluster on this machine, whose workers are killed; and the table of the simulated one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cluster_simulation
import psutil  # type: ignore[import-untyped]
import pytest
from checkpoints import save_model_folder
from conftest import COMMAND

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

LINES = 1_500


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster")
    save_model_folder(folder, n_positions=64)
    return folder


def lines_of(command: str) -> str:
    draw = random.Random(3)
    words = ["Once " * draw.randint(1, 12) for _ in range(LINES)]
    if command == "score":
        return "".join(json.dumps({"text": text * 3}) + "\n" for text in words)
    return "".join(json.dumps({"prompt": text, "max_tokens": draw.randint(1, 40)}) + "\n" for text in words)


def workers_of(process: subprocess.Popen[bytes]) -> list[Any]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "ClusterWorker" in " ".join(child.cmdline())]


@pytest.mark.parametrize("command", ["generate", "score"])
def test_a_cluster_answers_as_one_process_does_though_its_workers_are_killed(
    environment: dict[str, str], checkpoint: Path, tmp_path: Path, command: str
) -> None:
    pytest.importorskip("ray")
    source = tmp_path / "in.jsonl"
    source.write_text(lines_of(command))
    seed: Sequence[str] = ["--seed", "4"] if command == "generate" else []
    run = [*COMMAND, command, "--jsonl", str(source), "-m", str(checkpoint), "-q", *seed]
    alone = subprocess.run(run, env=environment, stdout=subprocess.PIPE, check=True).stdout
    with subprocess.Popen(
        [*run, "--cluster", "ray"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        found = [process.stdout.readline() for _ in range(100)]
        os.kill(random.Random(1).choice(workers_of(process)).pid, signal.SIGKILL)
        found += process.stdout.readlines()
        assert process.stderr
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert b"".join(found) == alone


def test_a_cluster_that_loses_a_worker_says_so_and_leaves_nothing_behind(
    environment: dict[str, str], checkpoint: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(lines_of("generate"))
    run = [*COMMAND, "generate", "--jsonl", str(source), "-m", str(checkpoint), "--cluster", "ray"]
    with subprocess.Popen([*run, "-o", str(output)], env=environment, stderr=subprocess.PIPE) as process:
        while not output.exists() or output.stat().st_size == 0:
            assert process.poll() is None
        started = psutil.Process(process.pid).children(recursive=True)
        os.kill(workers_of(process)[0].pid, signal.SIGKILL)
        assert process.stderr
        assert b"note: a worker was lost; " in process.stderr.read()
    assert process.returncode == 0
    assert [json.loads(line)["line"] for line in output.read_bytes().splitlines()] == list(
        range(1, LINES + 1)
    )
    _, left = psutil.wait_procs(started, timeout=60)
    assert not left


def test_the_guide_shows_what_the_simulation_yields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_simulation, "WORKERS", (64, 1000))
    page = cluster_simulation.PAGE.read_text()
    for row in cluster_simulation.table().splitlines():
        assert f"{row}\n" in page
