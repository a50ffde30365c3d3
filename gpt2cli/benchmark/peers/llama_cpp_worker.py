"""llama.cpp's server on many prompts: `python -m gpt2cli.benchmark.peers.llama_cpp_worker TASK`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from gpt2cli.benchmark.many.prompts import Prompt, read_prompts
from gpt2cli.benchmark.many.rates import best_rate
from gpt2cli.benchmark.many.server import served_rate, serving
from gpt2cli.benchmark.workload import Workload


def measure(task: Mapping[str, Any]) -> dict[str, float]:
    """Return the new tokens per second of a server at its best number of slots.

    For `server`, clients stream; else there is one for each slot, and answers come whole.
    """
    workload = Workload(**task["workload"])
    servers: Mapping[int, Sequence[str]] = {int(slots): words for slots, words in task["servers"].items()}

    def rate(name: str, prompts: Sequence[Prompt], slots: int) -> float:
        stream = name == "server"
        with serving(servers[slots]) as address:
            clients = workload.clients if stream else slots
            return served_rate(address, prompts, workload.new_tokens, clients, stream=stream)

    results = {}
    for name in task["measures"]:
        prompts = read_prompts(task["prompts"], "prompts" if name == "server" else name)
        results[name] = best_rate(prompts, [*servers], partial(rate, name))
    return results


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))))
