"""A process of this package for each prompt: `python -m gpt2cli.benchmark.peers.processes_worker TASK`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from gpt2cli.benchmark.many.prompts import Prompt, read_prompts

# So many processes take about half a minute.
MOST = 32


def measure(task: Mapping[str, Any]) -> dict[str, float]:
    """Return the new tokens per second of one process after another, for at most MOST of the prompts."""
    prompts = sample(read_prompts(task["prompts"], "prompts"))
    # The first of all converts weights and fills the page cache.
    _complete(task["complete"], prompts[0])
    start = time.perf_counter()
    for prompt in prompts:
        _complete(task["complete"], prompt)
    return {"prompts": len(prompts) * task["tokens"] / (time.perf_counter() - start)}


def sample(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return at most MOST prompts, whose lengths are spread as those of all."""
    ordered = sorted(prompts, key=lambda prompt: len(prompt.ids))
    count = min(MOST, len(ordered))
    return [ordered[(2 * number + 1) * len(ordered) // (2 * count)] for number in range(count)]


def _complete(command: Sequence[str], prompt: Prompt) -> None:
    if subprocess.run([*command, prompt.text], stdout=subprocess.DEVNULL, check=False).returncode:
        # Its own last line says why.
        raise SystemExit(1)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))))
