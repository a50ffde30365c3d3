"""Many prompts on a Ray cluster: `python -m gpt2cli.benchmark.many.cluster_worker TASK`."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, redirect_stdout
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

from gpt2cli.benchmark.many.prompts import Prompt, read_prompts
from gpt2cli.benchmark.many.rates import token_rate
from gpt2cli.benchmark.workload import Workload
from gpt2cli.generation.settings import SampleSettings
from gpt2cli.ops.compute import Compute
from gpt2cli.serving.cluster import RayCluster
from gpt2cli.serving.completion_lines import CompletionLines
from gpt2cli.serving.lines import Line


def measure(task: Mapping[str, Any]) -> dict[str, float]:
    """Return the new tokens per second of one worker, and of one for each thread."""
    workload = Workload(**task["workload"])
    compute = Compute(**task["compute"])
    prompts = read_prompts(task["prompts"], "prompts")
    results = {}
    for name, workers in (("worker", 1), ("cluster", compute.threads or 1)):
        if name in task["measures"]:
            alone = replace(compute, threads=1)
            results[name] = _rate(task["model"], alone, prompts, workload, workers)
    return results


def _rate(model: str, compute: Compute, prompts: Sequence[Prompt], workload: Workload, workers: int) -> float:
    settings = SampleSettings(
        max_tokens=workload.new_tokens, temperature=0, ignore_eos=True, batch_size=workload.clients
    )
    lines = [
        Line(number, json.dumps({"prompt": prompt.ids}).encode()) for number, prompt in enumerate(prompts, 1)
    ]
    # No network but the cluster's own.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = import_module("ray")
    ray.init(num_cpus=workers, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)

    def note(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    open_worker = partial(CompletionLines, settings=settings, seed=0)
    with closing(RayCluster(model, compute, True, open_worker, note, ray)) as cluster:
        cluster.prepare()
        while cluster.ready < cluster.size:
            cluster.step()
        start = time.perf_counter()
        for line in lines:
            cluster.submit(line)
        made = 0
        while not cluster.idle:
            made += sum(answer.tokens for answer in cluster.step())
        seconds = time.perf_counter() - start
    return token_rate(made, len(prompts) * workload.new_tokens, seconds)


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):
        measured = measure(json.loads(sys.argv[1]))
    sys.stdout.write(json.dumps(measured))
