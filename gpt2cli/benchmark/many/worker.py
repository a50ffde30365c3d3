"""Measures of this package's own programs: `python -m gpt2cli.benchmark.many.worker TASK`.

A task is the JSON of the file of prompts, a workload, the measures to take and the command lines.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from threading import Thread
from typing import Any

from gpt2cli.benchmark.many.prompts import Prompt, read_prompts
from gpt2cli.benchmark.many.rates import token_rate
from gpt2cli.benchmark.many.server import longest_gap, served_rate, serving
from gpt2cli.benchmark.workload import Workload


def measure(task: Mapping[str, Any]) -> dict[str, float]:
    """Take the measures of a task and return their values by name, in their units."""
    workload = Workload(**task["workload"])
    prompts = read_prompts(task["prompts"], "prompts")
    tokens, clients = workload.new_tokens, workload.clients
    results = {}
    if "jsonl" in task["measures"]:
        results["jsonl"] = _line_rate(task["lines"], prompts, tokens)
    if {"server", "gap"} & set(task["measures"]):
        with serving(task["serve"]) as address:
            if "server" in task["measures"]:
                results["server"] = served_rate(address, prompts, tokens, clients, stream=True)
            if "gap" in task["measures"]:
                results["gap"] = longest_gap(address, prompts, workload.tokens, clients, workload.context)
    return results


def _line_rate(command: Sequence[str], prompts: Sequence[Prompt], tokens: int) -> float:
    settings = {"max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    asked = [prompts[0].beginning, *prompts]
    first, *lines = [json.dumps({"prompt": each.ids, **settings}).encode() + b"\n" for each in asked]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        to_process = process.stdin
        to_process.write(first)
        to_process.flush()
        # Once the model is loaded.
        if not process.stdout.readline():
            # Its own last line says why.
            raise SystemExit(1)
        start = time.perf_counter()

        def write() -> None:
            with to_process:
                to_process.writelines(lines)

        writer = Thread(target=write)
        writer.start()
        answers = [process.stdout.readline() for _ in lines]
        seconds = time.perf_counter() - start
        writer.join()
    made = sum(json.loads(answer).get("usage", {}).get("completion_tokens", 0) for answer in answers)
    return token_rate(made, len(prompts) * tokens, seconds)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))))
